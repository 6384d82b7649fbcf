//! What a run tells while it goes on.

use crate::report::Epoch;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Something the user should know; it is in the report too.
    Note(String),
    /// A stage begins: "reading the model", "tracing", …
    Stage(&'static str),
    /// A countable piece of work begins: its name and its number of steps.
    Begin(String, usize),
    /// Steps of it were done; a line of figures such as loss and accuracy.
    Step(usize, String),
    /// It ended.
    End,
    /// An epoch ended.
    Epoch(Epoch),
}

/// Who is told.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: Event);
}

/// Nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: Event) {}
}
