//! Children that end at once.
#![allow(unsafe_code, reason = "forks, and waits for the child")]

/// Forks as any program does, and waits for the child: what is registered for a fork runs.
pub fn fork() {
    // SAFETY: the child only ends.
    end(unsafe { libc::fork() });
}

/// The same by the bare system call, for which nothing that is registered runs.
pub fn fork_bare() {
    // SAFETY: the child only ends.
    end(unsafe { libc::syscall(libc::SYS_fork) } as libc::pid_t);
}

fn end(child: libc::pid_t) {
    if child == 0 {
        // SAFETY: ends the process without what its parent has registered.
        unsafe { libc::_exit(0) }
    }
    assert!(child > 0, "{}", std::io::Error::last_os_error());
    let mut status = 0;
    // SAFETY: the pointer is to a local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
}
