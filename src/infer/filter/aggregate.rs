//! One answer of a filter out of its answers in several directions; it filters nothing.

use ndarray::{Array3, Zip};

/// How answers are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    Average,
    Max,
    /// Standard deviation with the divisor n.
    Deviation,
}

impl Aggregate {
    /// The words for configuration.
    pub const WORDS: [&'static str; 3] = ["avg", "max", "std"];

    /// What a word of [`Aggregate::WORDS`] stands for.
    pub fn of(word: &str) -> Aggregate {
        match word {
            "max" => Aggregate::Max,
            "std" => Aggregate::Deviation,
            _ => Aggregate::Average,
        }
    }

    /// Joins the answers, which are made one after the other. `None` of none.
    pub fn join(self, answers: impl Iterator<Item = Array3<f32>>) -> Option<Array3<f32>> {
        let mut joined: Option<Array3<f32>> = None;
        let mut squares: Option<Array3<f32>> = None;
        let mut count = 0.0_f32;
        for answer in answers {
            count += 1.0;
            let Some(joined) = &mut joined else {
                squares = (self == Aggregate::Deviation).then(|| Array3::zeros(answer.raw_dim()));
                joined = Some(answer);
                continue;
            };
            match (self, &mut squares) {
                (Aggregate::Max, _) => Zip::from(joined).and(&answer).par_for_each(|a, b| *a = a.max(*b)),
                // Welford's running mean and sum of squares.
                (Aggregate::Deviation, Some(squares)) => {
                    Zip::from(joined).and(squares).and(&answer).par_for_each(|mean, squares, value| {
                        let before = value - *mean;
                        *mean += before / count;
                        *squares += before * (value - *mean);
                    });
                }
                _ => Zip::from(joined).and(&answer).par_for_each(|a, b| *a += b),
            }
        }
        match self {
            Aggregate::Average => joined.as_mut()?.par_mapv_inplace(|sum| sum / count),
            Aggregate::Max => {}
            Aggregate::Deviation => {
                joined = squares;
                joined.as_mut()?.par_mapv_inplace(|sum| (sum / count).sqrt());
            }
        }
        joined
    }
}

/// The turns by right angles, as the axis that each axis comes from and whether it is turned round: 24 of a volume, or the 4
/// of planes at right angles to `about`.
pub fn rotations(about: Option<usize>) -> Vec<[(usize, bool); 3]> {
    let orders = [
        ([0, 1, 2], true),
        ([1, 2, 0], true),
        ([2, 0, 1], true),
        ([0, 2, 1], false),
        ([1, 0, 2], false),
        ([2, 1, 0], false),
    ];
    let mut all = Vec::new();
    for (order, even) in orders {
        for flips in 0..8_u8 {
            let turned = [0, 1, 2].map(|axis| flips >> axis & 1 == 1);
            // A rotation has determinant 1: an even number of flips with an even order, an odd one with an odd order.
            let rotation = (flips.count_ones() % 2 == 0) == even;
            let stays = about.is_none_or(|axis| order[axis] == axis && !turned[axis]);
            if rotation && stays {
                all.push([0, 1, 2].map(|axis| (order[axis], turned[axis])));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_as_their_names_say() {
        let answers = || [1.0, 2.0, 6.0].into_iter().map(|value| Array3::from_elem((1, 1, 2), value));
        let joined = |aggregate: Aggregate| aggregate.join(answers()).expect("three answers")[[0, 0, 1]];
        assert_eq!((joined(Aggregate::Average), joined(Aggregate::Max)), (3.0, 6.0));
        assert!((joined(Aggregate::Deviation) - (14.0_f32 / 3.0).sqrt()).abs() < 1e-6);
        assert!(Aggregate::Average.join(std::iter::empty()).is_none());
    }

    #[test]
    fn there_are_24_turns_of_a_cube_and_4_of_a_square() {
        assert_eq!(rotations(None).len(), 24);
        let flat = rotations(Some(0));
        assert_eq!(flat.len(), 4);
        assert!(
            flat.contains(&[(0, false), (2, true), (1, false)]) && flat.contains(&[(0, false), (1, true), (2, true)])
        );
    }
}
