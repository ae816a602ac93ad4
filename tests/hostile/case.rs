//! One row of the table: what a peer does, and what it has to be answered.

use std::time::{Duration, Instant};

use crate::bytes::{AS_IMPLICIT, CT, DATA, Request, image, pdata, pdv, said, store, store_command};
use crate::gateway::Gateway;
use crate::peer::{Answer, Peer};

/// What a peer does; it returns what it was answered.
type Play = Box<dyn FnOnce(&mut Peer) -> Vec<Answer> + Send>;

pub struct Case {
    pub name: String,
    /// What it breaks or tries: a clause of the standard, or a class of published flaws.
    pub source: &'static str,
    /// The title of an association to begin with; none for a bare connection.
    pub calling: Option<&'static str>,
    pub play: Play,
    pub expected: Vec<Answer>,
    pub within: Duration,
    /// The instance that is in the spool afterwards.
    pub keeps: Option<String>,
}

/// How long an ordinary case may take.
const SOON: Duration = Duration::from_secs(2);

impl Case {
    fn new(name: impl Into<String>, source: &'static str, expected: Vec<Answer>, play: Play) -> Case {
        Case { name: name.into(), source, calling: Some("CT01"), play, expected, within: SOON, keeps: None }
    }

    /// Sends bytes on a bare connection.
    pub fn opening(name: impl Into<String>, source: &'static str, bytes: Vec<u8>, expected: Answer) -> Case {
        let play = move |peer: &mut Peer| {
            peer.send(&bytes);
            vec![peer.answer()]
        };
        Case { calling: None, ..Case::new(name, source, vec![expected], Box::new(play)) }
    }

    /// Sends a request, then echoes where it is accepted.
    pub fn request(name: impl Into<String>, source: &'static str, request: &Request) -> Case {
        let bytes = request.bytes();
        let play = move |peer: &mut Peer| {
            peer.send(&bytes);
            vec![peer.answer(), peer.echo(), peer.release()]
        };
        let expected = vec![Answer::Accepted, Answer::Status(0), Answer::Released];
        Case { calling: None, ..Case::new(name, source, expected, Box::new(play)) }
    }

    /// Sends bytes in an association, and reads as many answers as are expected.
    pub fn talk(name: impl Into<String>, source: &'static str, bytes: Vec<u8>, expected: &[Answer]) -> Case {
        let count = expected.len();
        let play = move |peer: &mut Peer| {
            peer.send(&bytes);
            (0..count).map(|_| peer.answer()).collect()
        };
        Case::new(name, source, expected.to_vec(), Box::new(play))
    }

    /// Sends what is answered with a status, after which the association goes on.
    pub fn answered(name: impl Into<String>, source: &'static str, status: u16, bytes: Vec<u8>) -> Case {
        let play = move |peer: &mut Peer| {
            peer.send(&bytes);
            vec![peer.answer(), peer.echo(), peer.release()]
        };
        let expected = vec![Answer::Status(status), Answer::Status(0), Answer::Released];
        Case::new(name, source, expected, Box::new(play))
    }

    /// A C-STORE that is refused.
    pub fn refused(name: impl Into<String>, source: &'static str, status: u16, context: u8, data_set: &[u8]) -> Case {
        Case::answered(name, source, status, store(context, "1.2.3.4", data_set))
    }

    /// A C-STORE of something strange that is legal all the same.
    pub fn stored(name: impl Into<String>, source: &'static str, context: u8, instance: &str, data_set: &[u8]) -> Case {
        Case::answered(name, source, 0, store(context, instance, data_set)).keeping(instance)
    }

    /// Whatever else a peer does.
    pub fn play(
        name: impl Into<String>,
        source: &'static str,
        expected: &[Answer],
        play: impl FnOnce(&mut Peer) -> Vec<Answer> + Send + 'static,
    ) -> Case {
        Case::new(name, source, expected.to_vec(), Box::new(play))
    }

    /// The same on a bare connection.
    pub fn bare(self) -> Case {
        Case { calling: None, ..self }
    }

    pub fn calling(self, title: &'static str) -> Case {
        Case { calling: Some(title), ..self }
    }

    pub fn within(self, within: Duration) -> Case {
        Case { within, ..self }
    }

    pub fn keeping(self, instance: &str) -> Case {
        Case { keeps: Some(format!("{instance}.dcm")), ..self }
    }

    /// Plays it. The gateway closes after its last word, and nothing of it takes longer than it may.
    pub fn run(self, gateway: &Gateway) -> Result<Option<String>, String> {
        let start = Instant::now();
        let mut peer = match self.calling {
            Some(title) => Peer::associated(gateway.address, title, self.within),
            None => Peer::connect(gateway.address, self.within),
        };
        let found = (self.play)(&mut peer);
        let told = |what: String| format!("{} ({}): {what}", self.name, self.source);
        if found != self.expected {
            return Err(told(format!("found {found:?}, expected {:?}", self.expected)));
        }
        if start.elapsed() > self.within {
            return Err(told(format!("took {:?}, expected at most {:?}", start.elapsed(), self.within)));
        }
        if matches!(found.last(), Some(Answer::Aborted(..) | Answer::Rejected(..) | Answer::Released)) {
            peer.deadline = Instant::now() + SOON;
            let end = peer.drain();
            if end != Answer::Closed {
                return Err(told(format!("the gateway did not close after its last word: {end:?}")));
            }
        }
        Ok(self.keeps)
    }
}

/// The command of a store and a part of its data set.
pub fn half_store(instance: &str) -> Vec<u8> {
    let command = said(AS_IMPLICIT, &store_command(CT, instance));
    [command, pdata(&[pdv(AS_IMPLICIT, DATA, &image(instance)[..1_000])])].concat()
}
