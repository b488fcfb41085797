//! Somebody has put something where the broker's files belong. Nothing of it is followed, used or overwritten, and the error says what it is.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]

mod common;

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::folder::{Folder, NOBODY, is_root};
use common::{Actor, listen, role, say};
use sharehold::{Backing, Broker, Manager, check};

#[test]
fn perform_role() {
    let Some((role, arguments)) = role() else { return };
    match role.as_str() {
        "serve" => {
            let backing = if arguments[1] == "segment" { Backing::Segment } else { Backing::Memfd };
            let mut broker = Broker::builder().name(&arguments[0]).backing(backing).capacity(1 << 20);
            if arguments[2] == "fresh" {
                broker = broker.fresh();
            }
            match broker.spawn() {
                Ok(broker) => {
                    say("serving");
                    while listen().is_some() {}
                    broker.stop().expect("in order");
                }
                Err(error) => say(format!("{:?}: {}", error.kind(), error.message())),
            }
        }
        "connect" => match Manager::connect(&arguments[0]) {
            Ok(_) => say("connected"),
            Err(error) => say(format!("{:?}: {}", error.kind(), error.message())),
        },
        "check" => match check(&arguments[0]) {
            Ok(_) => say("checked"),
            Err(error) => say(format!("{:?}: {}", error.kind(), error.message())),
        },
        other => panic!("there is no role {other}"),
    }
}

/// What is planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plant {
    Link,
    DanglingLink,
    Fifo,
    Directory,
    File,
    Socket,
    HardLink,
    OpenFile,
    AnothersFile,
    AnothersSocket,
}

const VICTIM: &str = "not to be touched";

/// Plants something, and afterwards looks whether it is as it was.
struct Planted {
    plant: Plant,
    path: PathBuf,
    victim: PathBuf,
    before: (u64, u32, u32, i64),
}

impl Planted {
    fn new(plant: Plant, path: &Path, victim: &Path) -> Self {
        fs::write(victim, VICTIM).expect("written");
        let owned = |other: u32| chown(path, Some(other), Some(other)).expect("root may");
        match plant {
            Plant::Link => symlink(victim, path).expect("linked"),
            Plant::DanglingLink => symlink(victim.with_extension("new"), path).expect("linked"),
            Plant::Fifo => assert!(Command::new("mkfifo").arg(path).status().expect("runs").success()),
            Plant::Directory => fs::create_dir(path).expect("made"),
            Plant::File | Plant::OpenFile | Plant::AnothersFile => fs::write(path, VICTIM).expect("written"),
            Plant::HardLink => fs::hard_link(victim, path).expect("linked"),
            Plant::Socket | Plant::AnothersSocket => drop(UnixListener::bind(path).expect("bound")),
        }
        let mode = |mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
        match plant {
            Plant::File => mode(0o600),
            Plant::HardLink => mode(0o600),
            Plant::OpenFile => mode(0o666),
            Plant::AnothersFile | Plant::AnothersSocket => {
                mode(0o666);
                owned(NOBODY);
            }
            _ => {}
        }
        Self { plant, path: path.into(), victim: victim.into(), before: state(path) }
    }

    /// What the error says that it is.
    fn said(&self) -> &'static str {
        match self.plant {
            Plant::Link | Plant::DanglingLink => "is a symbolic link",
            Plant::Fifo => "is a FIFO",
            Plant::Directory => "is a directory",
            Plant::File => "is a file",
            Plant::Socket => "is a socket",
            Plant::HardLink => "is a hard link",
            Plant::OpenFile => "is open to others: its mode is 0666",
            Plant::AnothersFile => "is a file of user 65534",
            Plant::AnothersSocket => "is a socket of user 65534",
        }
    }

    fn is_untouched(&self) {
        assert_eq!(state(&self.path), self.before, "{:?}", self.plant);
        assert_eq!(fs::read_to_string(&self.victim).expect("there"), VICTIM, "{:?}", self.plant);
        assert!(!self.victim.with_extension("new").exists(), "{:?}: a link was followed", self.plant);
        if matches!(self.plant, Plant::File | Plant::OpenFile | Plant::AnothersFile) {
            assert_eq!(fs::read_to_string(&self.path).expect("there"), VICTIM);
        }
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path).or_else(|_| fs::remove_dir(&self.path));
        let _ = fs::remove_file(&self.victim);
    }
}

/// Inode, mode, owner and time of change.
fn state(path: &Path) -> (u64, u32, u32, i64) {
    let there = fs::symlink_metadata(path).expect("there");
    (there.ino(), there.mode(), there.uid(), there.ctime_nsec())
}

fn serve(folder: &Folder, backing: &str, how: &str) -> (Actor, String) {
    let broker = Actor::start_by(folder.command(), "serve", &["planted", backing, how]);
    let said = broker.hear();
    (broker, said)
}

fn refused(said: &str, path: &Path, what: &str) {
    assert!(
        said.starts_with("Refused: ") && said.contains(&*path.to_string_lossy()) && said.contains(what),
        "{said}, not {what}"
    );
}

#[test]
fn what_stands_where_the_lock_file_belongs_is_not_followed_and_not_changed() {
    if !is_root() {
        return;
    }
    use Plant::*;
    let (folder, victims) = (Folder::private("lock"), Folder::private("victims"));
    for plant in [Link, DanglingLink, Fifo, Directory, Socket, HardLink, OpenFile, AnothersFile] {
        let path = folder.0.join("planted.lock");
        let planted = Planted::new(plant, &path, &victims.0.join("victim"));
        let (_broker, said) = serve(&folder, "memfd", "");
        refused(&said, &path, planted.said());
        planted.is_untouched();
        assert_eq!(folder.names(), ["planted.lock"], "{plant:?}");
    }
    let (broker, said) = serve(&folder, "memfd", "");
    assert_eq!(said, "serving");
    broker.end();
}

#[test]
fn what_stands_where_the_socket_belongs_is_not_removed() {
    if !is_root() {
        return;
    }
    use Plant::*;
    let (folder, victims) = (Folder::private("socket"), Folder::private("victims"));
    for plant in [Link, DanglingLink, Fifo, Directory, File, AnothersSocket] {
        let path = folder.0.join("planted.sock");
        let planted = Planted::new(plant, &path, &victims.0.join("victim"));
        let (_broker, said) = serve(&folder, "memfd", "fresh");
        refused(&said, &path, planted.said());
        planted.is_untouched();
        assert_eq!(folder.names(), ["planted.sock"], "{plant:?}");
    }
    // One of a dead broker of ours is.
    drop(UnixListener::bind(folder.0.join("planted.sock")).expect("bound"));
    let (broker, said) = serve(&folder, "memfd", "");
    assert_eq!(said, "serving");
    broker.end();
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_directory_that_is_not_the_users_own_and_closed_is_refused() {
    if !is_root() {
        return;
    }
    let real = Folder::private("real");
    type Place<'a> = &'a dyn Fn(&Path);
    let tries: [(&str, Place<'_>); 6] = [
        ("is a symbolic link", &|path| symlink(&real, path).expect("linked")),
        ("is a symbolic link", &|path| symlink(real.0.join("nothing"), path).expect("linked")),
        ("is a file", &|path| fs::write(path, VICTIM).expect("written")),
        ("its mode is 0755", &|path| DirBuilder::new().mode(0o755).create(path).expect("made")),
        ("its mode is 0777", &|path| {
            fs::create_dir(path).expect("made");
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("set");
        }),
        ("is a directory of user 65534", &|path| {
            DirBuilder::new().mode(0o700).create(path).expect("made");
            chown(path, Some(NOBODY), None).expect("root may");
        }),
    ];
    for (what, plant) in tries {
        let folder = Folder::new("directory");
        plant(&folder.0);
        let before = state(&folder.0);
        let (_broker, said) = serve(&folder, "memfd", "");
        refused(&said, &folder.0, what);
        assert_eq!(state(&folder.0), before);
        assert_eq!(real.names(), [""; 0], "{what}: a link was followed");
        // With a slash at its end too.
        let mut slashed = folder.command();
        slashed.env("SHAREHOLD_DIR", folder.0.join(""));
        let broker = Actor::start_by(slashed, "serve", &["planted", "memfd", ""]);
        refused(&broker.hear(), &folder.0, what);
    }
}

#[test]
fn what_stands_where_the_segment_belongs_is_not_mapped_and_not_removed() {
    if !is_root() {
        return;
    }
    use Plant::*;
    let folder = Folder::private("segment");
    let name = format!("planted-{}", std::process::id());
    let path = PathBuf::from(format!("/dev/shm/sharehold-0-{name}"));
    let victim = Path::new("/dev/shm").join(format!("sharehold-victim-{}", std::process::id()));
    let start = |backing: &str, how: &str| {
        let broker = Actor::start_by(folder.command(), "serve", &[&name, backing, how]);
        let said = broker.hear();
        (broker, said)
    };
    for plant in [Link, DanglingLink, Fifo, Directory, HardLink, OpenFile, AnothersFile] {
        let planted = Planted::new(plant, &path, &victim);
        for how in ["", "fresh"] {
            let (_broker, said) = start("segment", how);
            refused(&said, &path, planted.said());
            planted.is_untouched();
        }
        let checker = Actor::start_by(folder.command(), "check", &[&name]);
        refused(&checker.hear(), &path, planted.said());
        planted.is_untouched();
        // It keeps nobody from having a broker that needs none.
        let (broker, said) = start("memfd", "");
        assert_eq!(said, "serving", "{plant:?}");
        broker.end();
        planted.is_untouched();
    }
    let (broker, said) = start("segment", "");
    assert_eq!(said, "serving");
    broker.end();
    assert!(!path.exists());
}

#[test]
fn a_client_goes_to_no_broker_but_one_of_the_user_whose_directory_it_is() {
    if !is_root() {
        return;
    }
    // What a user finds at the default place is its own, or nothing.
    let runtime = Folder::new("runtime");
    fs::create_dir(&runtime).expect("made");
    chown(&runtime, Some(NOBODY), None).expect("root may");
    let planted = runtime.0.join("sharehold");
    let mut nobody = folder_command(&planted);
    let broker = Actor::start_by(as_nobody(&mut nobody), "serve", &["planted", "memfd", ""]);
    assert_eq!(broker.hear(), "serving");
    let mut command = Command::new("/proc/self/exe");
    command.env_remove("SHAREHOLD_DIR").env("XDG_RUNTIME_DIR", &runtime.0);
    let client = Actor::start_by(command, "connect", &["planted"]);
    refused(&client.hear(), &planted, "is a directory of user 65534, where one of user 0 belongs");

    // Named by its place it is meant. It takes nobody else either.
    let place = planted.join("planted");
    let client = Actor::start("connect", &[place.to_str().expect("a path")]);
    assert_eq!(client.hear(), "Refused: user 0 may not use this broker");

    // In a directory that others can write to, anybody may have put a socket.
    fs::set_permissions(&planted, Permissions::from_mode(0o777)).expect("set");
    let client = Actor::start("connect", &[place.to_str().expect("a path")]);
    refused(&client.hear(), &planted, "its mode is 0777");

    // A socket of somebody else in a directory of ours.
    let ours = Folder::private("ours");
    let socket = ours.0.join("planted.sock");
    symlink(planted.join("planted.sock"), &socket).expect("linked");
    let client = Actor::start_by(ours.command(), "connect", &["planted"]);
    refused(&client.hear(), &socket, "user 65534 listens");
    fs::set_permissions(&planted, Permissions::from_mode(0o700)).expect("set");
    broker.end();
}

fn folder_command(folder: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.env("SHAREHOLD_DIR", folder);
    command
}

fn as_nobody(command: &mut Command) -> Command {
    let mut other = Command::new(command.get_program());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other.uid(NOBODY).gid(NOBODY);
    other
}

#[test]
fn all_that_a_broker_makes_is_the_users_alone_whatever_the_umask() {
    // Nobody but root can go into what it makes under the second.
    for umask in if is_root() { vec!["0", "777"] } else { vec!["0"] } {
        let folder = Folder::private("modes");
        let inner = folder.0.join("made");
        let mut command = Command::new("sh");
        let exe = std::env::current_exe().expect("a path");
        command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(exe).env("SHAREHOLD_DIR", &inner);
        let name = format!("modes-{}", std::process::id());
        if umask == "777" {
            DirBuilder::new().mode(0o700).create(&inner).expect("made");
        }
        let broker = Actor::start_by(command, "serve", &[&name, "segment", ""]);
        assert_eq!(broker.hear(), "serving");
        let mode = |path: &Path| fs::symlink_metadata(path).expect("there").mode() & 0o7777;
        let segment = PathBuf::from(format!("/dev/shm/sharehold-{}-{name}", rustix::process::geteuid().as_raw()));
        let expected = if umask == "0" { 0o600 } else { 0 };
        assert_eq!(mode(&inner), 0o700);
        assert_eq!(mode(&inner.join(format!("{name}.sock"))), 0o600);
        assert_eq!(mode(&inner.join(format!("{name}.lock"))), expected);
        assert_eq!(mode(&segment), expected);
        broker.end();
        assert!(!segment.exists() && File::open(inner.join(format!("{name}.lock"))).is_err());
    }
}
