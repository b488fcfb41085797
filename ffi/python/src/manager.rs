//! A session with a broker. `Manager` in `_manager.py` builds on this.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sharehold::{Authkey, Backing, Datum, Error, Manager, Object, Ticket};

use crate::buffer::Foreign;
use crate::element::Element;
use crate::fault::{Outcome, duration};
use crate::proxy::{Proxy, calling, wrap};
use crate::{channel, datum, value};

/// How long one that waits for a name does not look for signals.
const SLICE: Duration = Duration::from_millis(100);

/// A handle on a broker.
#[pyclass(frozen, module = "sharehold._sharehold")]
pub(crate) struct Session {
    manager: Manager,
}

impl From<Manager> for Session {
    fn from(manager: Manager) -> Self {
        Self { manager }
    }
}

/// What is told about a broker, as JSON.
fn json(told: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(told).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Sizes {
    capacity: Option<u64>,
    objects: Option<u32>,
    sessions: Option<u32>,
    tickets: Option<u32>,
    names: Option<u32>,
    types: Option<u32>,
    segment: bool,
    fresh: bool,
    debuggable: bool,
    allow_uids: Vec<u32>,
    authkey: Option<Vec<u8>>,
}

#[pymethods]
impl Session {
    /// Starts a broker by a command.
    #[staticmethod]
    fn start(py: Python<'_>, name: Option<String>, sizes: Sizes, command: Vec<String>) -> Outcome<Self> {
        let mut builder = Manager::builder();
        macro_rules! say {
            ($($setter:ident: $value:expr;)*) => {$(
                if let Some(value) = $value {
                    builder = builder.$setter(value);
                }
            )*};
        }
        say! {
            name: name;
            capacity: sizes.capacity;
            objects: sizes.objects;
            sessions: sizes.sessions;
            tickets: sizes.tickets;
            names: sizes.names;
            types: sizes.types;
            backing: sizes.segment.then_some(Backing::Segment);
            authkey: sizes.authkey.map(Authkey::new);
        }
        builder = sizes.allow_uids.into_iter().fold(builder, |builder, uid| builder.allow_uid(uid));
        builder = if sizes.fresh { builder.fresh() } else { builder };
        builder = if sizes.debuggable { builder.debuggable() } else { builder };
        // The name is the last argument: it is seen in lists of processes.
        let (program, arguments) =
            command.split_first().ok_or_else(|| PyValueError::new_err("a command has a word"))?;
        let builder = builder.command(program, arguments);
        Ok(py.detach(|| builder.start())?.into())
    }

    #[staticmethod]
    fn connect(
        py: Python<'_>,
        name: &str,
        authkey: Option<Vec<u8>>,
        read_only: bool,
        timeout: Option<f64>,
    ) -> Outcome<Self> {
        let until = duration(timeout)?.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        loop {
            let mut builder = Manager::builder();
            if let Some(authkey) = &authkey {
                builder = builder.authkey(Authkey::new(authkey));
            }
            builder = if read_only { builder.read_only() } else { builder };
            match py.detach(|| builder.connect(name)) {
                Err(error)
                    if error.kind() == sharehold::ErrorKind::BrokerNotFound
                        && until.is_some_and(|until| std::time::Instant::now() < until) =>
                {
                    py.check_signals()?;
                    py.detach(|| std::thread::sleep(Duration::from_millis(5)));
                }
                connected => return Ok(connected?.into()),
            }
        }
    }

    /// The broker's, in a method of a hosted object.
    #[staticmethod]
    fn current() -> Outcome<Self> {
        Ok(Manager::current()?.into())
    }

    #[getter]
    fn name(&self) -> &str {
        self.manager.name()
    }

    #[getter]
    fn child_pid(&self) -> Option<u32> {
        self.manager.child_pid()
    }

    fn waiting(&self, room: f64) -> PyResult<Self> {
        Ok(self.manager.wait_for_room(duration(Some(room))?.unwrap_or(Duration::MAX)).into())
    }

    fn restart(&self, py: Python<'_>) -> Outcome<()> {
        Ok(py.detach(|| self.manager.restart())?)
    }

    fn shutdown(&self, py: Python<'_>) -> Outcome<()> {
        Ok(py.detach(|| self.manager.shutdown())?)
    }

    fn value<'py>(&self, py: Python<'py>, kind: &str, number: &Bound<'py, PyAny>) -> Outcome<Bound<'py, PyAny>> {
        Ok(wrap(py, value::create(&self.manager, kind, number)?)?)
    }

    /// An array of these elements: with the bytes of `source`, which are as many, or zeros.
    #[pyo3(signature = (description, len, source = None))]
    fn array<'py>(
        &self,
        py: Python<'py>,
        description: &Bound<'py, PyAny>,
        len: usize,
        source: Option<Bound<'py, PyAny>>,
    ) -> Outcome<Bound<'py, Proxy>> {
        let element = Element::described(description)?;
        let source = source.map(|source| Foreign::of(&source)).transpose()?;
        let bytes = usize::try_from(element.schema.size()).map_err(PyErr::from)?.saturating_mul(len);
        check_len(source.as_ref(), bytes)?;
        let create = || {
            self.manager.array_of(&element.schema, len, |place| {
                match &source {
                    Some(source) => source.copy_to(place),
                    None => place.fill(0),
                }
                Ok::<(), Error>(())
            })
        };
        let array = py.detach(create)?;
        proxy_of(py, array.into())
    }

    fn channel<'py>(&self, py: Python<'py>, capacity: usize, single: bool) -> Outcome<Bound<'py, PyAny>> {
        let channel = py.detach(|| match single {
            true => self.manager.single_channel(capacity),
            false => self.manager.channel(capacity),
        })?;
        Ok(channel::of(py, channel)?)
    }

    /// Elements with the bytes of `source`, which the kernel keeps from being changed.
    fn freeze<'py>(
        &self,
        py: Python<'py>,
        description: &Bound<'py, PyAny>,
        source: &Bound<'py, PyAny>,
    ) -> Outcome<Bound<'py, Proxy>> {
        let element = Element::described(description)?;
        let source = Foreign::of(source)?;
        let frozen = py.detach(|| {
            let mut bytes = vec![0; source.len()];
            source.copy_to(&mut bytes);
            self.manager.freeze_of(&element.schema, &bytes)
        })?;
        proxy_of(py, frozen.into())
    }

    /// Makes an object of a class that is written in Python.
    fn create<'py>(
        &self,
        py: Python<'py>,
        class: &str,
        data: Vec<u8>,
        proxies: Vec<Bound<'py, Proxy>>,
        timeout: Option<f64>,
    ) -> Outcome<Bound<'py, PyAny>> {
        let arguments = datum::pickled(data, proxies.iter().map(|proxy| &proxy.get().object));
        self.made(py, class, &arguments, timeout)
    }

    /// Makes an object of any other class.
    fn create_plain<'py>(
        &self,
        py: Python<'py>,
        class: &str,
        arguments: &Bound<'py, PyTuple>,
        timeout: Option<f64>,
    ) -> Outcome<Bound<'py, PyAny>> {
        self.made(py, class, &datum::arguments(arguments)?, timeout)
    }

    fn classes(&self, py: Python<'_>) -> Outcome<Vec<(String, Vec<String>)>> {
        let classes = py.detach(|| self.manager.classes())?;
        Ok(classes.into_iter().map(|class| (class.name, class.signatures)).collect())
    }

    fn redeem<'py>(&self, py: Python<'py>, ticket: &str) -> Outcome<Bound<'py, PyAny>> {
        let ticket: Ticket = ticket.parse()?;
        Ok(wrap(py, py.detach(|| self.manager.redeem::<Object>(&ticket))?)?)
    }

    fn publish(&self, py: Python<'_>, name: &str, proxy: &Bound<'_, Proxy>, replace: bool) -> Outcome<()> {
        let object = &proxy.get().object;
        Ok(py.detach(|| match replace {
            true => self.manager.publish_over(name, object),
            false => self.manager.publish(name, object),
        })?)
    }

    fn unpublish(&self, py: Python<'_>, name: &str) -> Outcome<()> {
        Ok(py.detach(|| self.manager.unpublish(name))?)
    }

    /// What is published under a name, which is waited for if `timeout` is not 0.
    fn lookup<'py>(&self, py: Python<'py>, name: &str, timeout: Option<f64>) -> Outcome<Bound<'py, PyAny>> {
        if timeout == Some(0.0) {
            return Ok(wrap(py, self.manager.lookup::<Object>(name)?)?);
        }
        let until = duration(timeout)?.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        loop {
            let left = until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            let slice = left.map_or(SLICE, |left| left.min(SLICE));
            match py.detach(|| self.manager.wait::<Object>(name, slice)) {
                Err(error) if error.kind() == sharehold::ErrorKind::Timeout && left.is_none_or(|left| left > slice) => {
                    py.check_signals()?;
                }
                found => return Ok(wrap(py, found?)?),
            }
        }
    }

    fn names(&self) -> Outcome<String> {
        Ok(json(&self.manager.names()?)?)
    }

    fn number_of_objects(&self) -> Outcome<u64> {
        Ok(self.manager.number_of_objects()?)
    }

    fn objects(&self) -> Outcome<String> {
        Ok(json(&self.manager.debug_info()?)?)
    }

    fn object_info(&self, proxy: &Bound<'_, Proxy>) -> Outcome<String> {
        use sharehold::Proxy as _;
        Ok(json(&self.manager.object_info(proxy.get().object.id())?)?)
    }

    fn tickets(&self) -> Outcome<String> {
        Ok(json(&self.manager.tickets()?)?)
    }

    fn stats(&self, py: Python<'_>) -> Outcome<String> {
        Ok(json(&py.detach(|| self.manager.stats())?)?)
    }

    fn audit(&self, py: Python<'_>) -> Outcome<String> {
        Ok(json(&py.detach(|| self.manager.audit())?)?)
    }

    fn collect(&self, py: Python<'_>) -> Outcome<u64> {
        Ok(py.detach(|| self.manager.collect())?)
    }

    fn describe(&self, py: Python<'_>, proxy: &Bound<'_, Proxy>) -> Outcome<String> {
        let object = &proxy.get().object;
        Ok(py.detach(|| object.describe())?)
    }

    fn clear_poison(&self, py: Python<'_>, proxy: &Bound<'_, Proxy>) -> Outcome<()> {
        let object = &proxy.get().object;
        Ok(py.detach(|| self.manager.clear_poison(object))?)
    }
}

impl Session {
    fn made<'py>(
        &self,
        py: Python<'py>,
        class: &str,
        arguments: &Datum,
        timeout: Option<f64>,
    ) -> Outcome<Bound<'py, PyAny>> {
        let object = calling(py, timeout, || self.manager.create::<Object>(class, arguments))?;
        Ok(wrap(py, object)?)
    }
}

fn check_len(source: Option<&Foreign>, bytes: usize) -> PyResult<()> {
    match source.map(Foreign::len) {
        Some(len) if len != bytes => Err(PyValueError::new_err(format!("there are {len} bytes, not {bytes}"))),
        _ => Ok(()),
    }
}

/// A proxy without a class of its own, from which the caller makes one.
fn proxy_of(py: Python<'_>, datum: Datum) -> Outcome<Bound<'_, Proxy>> {
    match datum {
        Datum::Proxy(object) => Ok(Bound::new(py, Proxy { object })?),
        other => Err(PyValueError::new_err(format!("{other} is no proxy")).into()),
    }
}

/// Redeems a ticket, in a process that may have nothing else, with a session that the caller keeps.
#[pyfunction]
pub(crate) fn redeem<'py>(py: Python<'py>, ticket: &str) -> Outcome<Bound<'py, PyAny>> {
    let ticket: Ticket = ticket.parse()?;
    // In a method of the broker itself, the broker's own session is the one to have it.
    let here = Manager::current().ok().filter(|manager| manager.name() == ticket.broker());
    let object = py.detach(|| match &here {
        Some(manager) => manager.redeem::<Object>(&ticket),
        None => sharehold::redeem::<Object>(&ticket),
    })?;
    Ok(wrap(py, object)?)
}

/// The names of this user's brokers that run.
#[pyfunction]
pub(crate) fn brokers(py: Python<'_>) -> Vec<String> {
    py.detach(sharehold::brokers)
}
