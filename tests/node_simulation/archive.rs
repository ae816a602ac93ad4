//! The archive of these lives: it has the third series of some of them, which the scanner does not send, brings it or fails, and
//! says how many instances a series has, or does not.

use contourd::dicom::{SeriesKey, Uid};
use contourd::node::{Asked, Counted, Event, Retrieval, Retrieved, SeriesReport, Stored};
use contourd::pipeline::{Fetch, FromStudy};
use fastrand::Rng;

use super::World;

/// How the third series is fetched.
pub fn rule() -> Fetch {
    Fetch {
        from: "archive".to_owned(),
        study: FromStudy::Same,
        modality: None,
        description: None,
        instances_min: 1,
        within_days: None,
        series_max: 1,
        after_s: 5.0,
    }
}

/// Takes the third series from the scanner, every second time.
pub fn archived(unsent: &mut Vec<Stored>, rng: &mut Rng) -> Vec<Stored> {
    if rng.bool() {
        return Vec::new();
    }
    let third = |stored: &Stored| stored.series.series_instance_uid.as_str() == "1.3.2";
    let (archived, sent) = std::mem::take(unsent).into_iter().partition(third);
    *unsent = sent;
    archived
}

impl World {
    /// The archive has all of the third series or nothing.
    pub fn retrieve(&mut self, retrieval: &Retrieval) {
        assert_eq!(self.ledger.retrievals[&retrieval.id], *retrieval, "recorded before it is acted on");
        assert!(retrieval.attempts <= 6, "seed {}: asked too often", self.seed);
        let Asked::Slot { slot, of, .. } = &retrieval.what else { panic!("nobody pulls here") };
        assert_eq!((slot.as_str(), of.series_instance_uid.as_str()), ("third", "1.3.0"), "seed {}", self.seed);
        let reason = "away".to_owned();
        let said = match self.rng.u8(0..6) {
            0 => Retrieved::Again { reason, report: Vec::new() },
            1 => Retrieved::Never { reason, report: Vec::new() },
            2 => Retrieved::Done { report: Vec::new(), remark: "0 series were looked at".to_owned() },
            _ => self.bring(),
        };
        self.answers.push(Event::Retrieved { id: retrieval.id.clone(), said });
    }

    /// What is brought is durable before anybody is told of it.
    fn bring(&mut self) -> Retrieved {
        for mut stored in self.archived.clone() {
            (stored.received_at, stored.association) = (self.now, 7);
            if self.spool.insert(stored.sop_instance_uid.clone(), stored.clone()).is_none() {
                self.fetched += 1;
            }
            self.answers.push(Event::Stored(stored));
        }
        self.answers.push(Event::Closed { association: 7, released: true });
        let (count, series) = (self.archived.len(), self.archived.first().map(|stored| stored.series.clone()));
        let told = |series| SeriesReport { series, wanted: count, here: count, brought: true, note: String::new() };
        Retrieved::Done { report: series.map(told).into_iter().collect(), remark: String::new() }
    }

    /// The archive tells the truth, or nothing.
    pub fn count(&mut self, series: SeriesKey, question: u32) {
        let all = self.spool.values().chain(&self.unsent).chain(&self.archived);
        let all: std::collections::BTreeSet<&Uid> =
            all.filter(|stored| stored.series == series).map(|stored| &stored.sop_instance_uid).collect();
        let said = match self.rng.u8(0..3) {
            0 => Counted::Unknown { reason: "away".to_owned() },
            _ => Counted::Instances(all.len() as u32),
        };
        self.answers.push(Event::Counted { series, question, said });
    }
}
