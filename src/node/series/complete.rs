//! What time demands of a series that is arriving: to wait, to ask its source how many instances it has, to be looked at.

use jiff::{SignedDuration, Timestamp};

use super::super::arrival::{Decision, Sender, Stack, could_end, decide, gives_up, judge, kept, missing};
use super::super::{Effect, Record};
use super::{Gathering, SeriesState};
use crate::limits::{SOURCE_QUESTIONS_MAX, SOURCE_UNANSWERED_S};
use crate::pipeline::{Completeness, OnTimeout};

/// What a peer says of the number of instances of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Number of Series Related Instances (0020,1209).
    Instances(u32),
    /// It does not know the series, does not tell the number, or could not be asked; why.
    Unknown { reason: String },
}

/// What was asked of the source of a series, and answered. Each set of instances is asked about once, and once more before
/// the series is held; of an answer that does not come nothing follows.
#[derive(Debug, Default)]
pub(super) struct Source {
    from: String,
    questions: u32,
    /// The number of the question that is open, and when it was asked.
    open: Option<(u32, Timestamp)>,
    /// How many instances were here when it was asked last, and how often for so many.
    about: (usize, u32),
    told: Option<u32>,
}

impl Source {
    /// Whether an answer is waited for. One that is lost is not waited for for ever.
    fn is_open(&self, now: Timestamp) -> bool {
        let bound = SignedDuration::from_secs(SOURCE_UNANSWERED_S);
        self.open.is_some_and(|(_, asked_at)| now.duration_since(asked_at) < bound)
    }

    fn is_due(&self, count: usize, before_holding: bool) -> bool {
        let asked = if self.about.0 == count { self.about.1 } else { 0 };
        let lacks = self.told.is_some_and(|told| told as usize > count);
        self.questions < SOURCE_QUESTIONS_MAX && (asked == 0 || (asked == 1 && before_holding && lacks))
    }

    fn begin(&mut self, count: usize, from: &str, now: Timestamp) -> u32 {
        let asked = if self.about.0 == count { self.about.1 } else { 0 };
        from.clone_into(&mut self.from);
        self.questions += 1;
        self.about = (count, asked + 1);
        self.open = Some((self.questions, now));
        self.questions
    }

    /// Takes an answer; a line for the history. `None` for one that is late.
    fn answered(&mut self, question: u32, said: &Counted, came: usize) -> Option<String> {
        if self.open.is_none_or(|(open, _)| open != question) {
            return None;
        }
        self.open = None;
        let from = &self.from;
        Some(match said {
            Counted::Instances(count) => {
                self.told = Some(*count);
                match usize::try_from(*count) {
                    Ok(count) if count > came => {
                        format!("{from} has {count} instances of it, and {came} are here: the others are waited for")
                    }
                    _ => format!("{from} has {count} instances of it, and {came} are here"),
                }
            }
            Counted::Unknown { reason } => {
                format!("{from} did not say how many instances it has of it, so that nothing changes: {reason}")
            }
        })
    }

    fn promised(&self) -> Option<usize> {
        self.told.map(|told| told as usize)
    }

    /// A text about what is missing, with whoever has said so.
    fn explain(&self, what: String) -> String {
        match (self.told, self.questions) {
            (Some(_), 1..) => format!("{what}, asked of {}", self.from),
            _ => what,
        }
    }
}

impl Gathering {
    /// What time demands of an arriving series.
    pub(in crate::node) fn proceed(
        &mut self,
        waiting: &Completeness,
        source: Option<&str>,
        now: Timestamp,
    ) -> Vec<Effect> {
        if self.record.state == SeriesState::Held && !self.assessing {
            return self.give_up(waiting, now);
        }
        if self.record.state != SeriesState::Arriving || self.assessing {
            return Vec::new();
        }
        let (times, sender) = ((self.record.first_at, self.record.last_at), self.sender());
        if !could_end(waiting, sender, times, now) {
            return Vec::new(); // Spares the look at every slice each time that one arrives.
        }
        let stack = self.stack();
        let decision = decide(waiting, stack, sender, times, now);
        if let (Some(from), true) = (source, decision != Decision::Wait) {
            if self.inquiry.is_open(now) {
                return Vec::new();
            }
            let count = self.instances.len();
            if self.inquiry.is_due(count, matches!(decision, Decision::TimedOut(_))) {
                let question = self.inquiry.begin(count, from, now);
                return vec![Effect::Count { series: self.record.series.clone(), question, from: from.to_owned() }];
            }
        }
        match decision {
            Decision::Wait => Vec::new(),
            Decision::Assess => self.assess(),
            Decision::TimedOut(stack) => {
                let note = self.inquiry.explain(missing(stack, self.instances.len()));
                match waiting.on_timeout {
                    OnTimeout::Run => self.assess(),
                    OnTimeout::Hold => self.set_aside(SeriesState::Held, note, now),
                    OnTimeout::Discard => self.set_aside(SeriesState::Discarded, note, now),
                }
            }
        }
    }

    /// Takes the answer of the source. It only lengthens the wait: a source that has fewer may be receiving itself.
    pub(in crate::node) fn counted(&mut self, question: u32, said: Counted, now: Timestamp) -> Vec<Effect> {
        let came = self.instances.len();
        let Some(text) = self.inquiry.answered(question, &said, came) else { return Vec::new() };
        self.stack = None;
        vec![self.note(now, text)]
    }

    /// A series without a gap is not held for good because an archive tells a number that is too high.
    fn give_up(&mut self, waiting: &Completeness, now: Timestamp) -> Vec<Effect> {
        let is_over = gives_up(waiting, self.record.last_at, now);
        let Some(stack @ Stack::Short { .. }) = is_over.then(|| self.stack()) else { return Vec::new() };
        let what = self.inquiry.explain(missing(stack, self.instances.len()));
        let text = format!("{what}; not waited for any longer");
        self.reopen(now);
        let mut effects = vec![Effect::Record(Record::Series(self.record.clone())), self.note(now, text)];
        effects.extend(self.assess());
        effects
    }

    /// What the last association that brought something says of its sender. Numbers ascend in the life of the process.
    pub(super) fn sender(&self) -> Sender {
        let open = self.associations.values().any(Option::is_none);
        match self.associations.values().next_back() {
            _ if open => Sender::Sending,
            Some(Some(true)) => Sender::Done,
            Some(Some(false)) => Sender::Aborted,
            Some(None) | None => Sender::Unknown,
        }
    }

    /// What the slices say, looked at once for each set of them.
    fn stack(&mut self) -> Stack {
        if let Some(stack) = self.stack {
            return stack;
        }
        let placed = || self.instances.values().map(|instance| instance.placed.as_ref());
        let promised = placed().filter_map(|place| Some(&place?.promised));
        let came = self.instances.len();
        let kept = match (kept(came, promised), self.inquiry.promised()) {
            (Stack::Short { promised, .. }, Some(told)) => Stack::Short { came, promised: promised.max(told) },
            (_, Some(told)) if told > came => Stack::Short { came, promised: told },
            (kept, _) => kept,
        };
        let found = match (judge(placed()), kept) {
            (Stack::Whole | Stack::Unknown, short @ (Stack::Short { .. } | Stack::Fewer)) => short,
            // What a whole stack lacks at its ends is more than what an acquisition may have elsewhere.
            (Stack::Fewer, short @ Stack::Short { .. }) => short,
            (found, _) => found,
        };
        self.stack = Some(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_asked_once_for_each_count_and_once_more_before_holding() {
        let mut source = Source::default();
        let mut log = Vec::new();
        for (count, before_holding, told) in
            [(90, false, 100), (90, false, 100), (90, true, 100), (90, true, 100), (100, false, 100), (101, true, 200)]
        {
            let due = source.is_due(count, before_holding);
            if due {
                let question = source.begin(count, "pacs", Timestamp::UNIX_EPOCH);
                assert!(
                    source.is_open(Timestamp::UNIX_EPOCH)
                        && source.answered(question + 1, &Counted::Instances(1), count).is_none()
                );
                assert!(source.answered(question, &Counted::Instances(told), count).is_some());
                assert!(source.answered(question, &Counted::Instances(1), count).is_none(), "it came twice");
            }
            log.push(due);
        }
        assert_eq!(log, [true, false, true, false, true, true]);
        assert!(!source.is_due(500, false), "there is an end of questions");
    }

    #[test]
    fn an_answer_that_is_lost_is_not_waited_for_for_ever() {
        let at = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        let mut source = Source::default();
        let question = source.begin(9, "pacs", at(0));
        assert!(source.is_open(at(SOURCE_UNANSWERED_S - 1)));
        assert!(!source.is_open(at(SOURCE_UNANSWERED_S)) && !source.is_due(9, false), "it goes on without");
        assert!(source.answered(question, &Counted::Instances(9), 9).is_some(), "late, it still is one");
    }

    #[test]
    fn a_source_that_says_nothing_changes_nothing() {
        let mut source = Source::default();
        let question = source.begin(9, "pacs", Timestamp::UNIX_EPOCH);
        let told = source.answered(question, &Counted::Unknown { reason: "away".to_owned() }, 9).expect("the answer");
        assert!(told.contains("pacs did not say") && told.ends_with("away"), "{told}");
        assert_eq!((source.promised(), source.is_due(9, true)), (None, false));
    }
}
