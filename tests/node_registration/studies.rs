//! Two studies of one patient, the first of which is finished: a registration counts for those whose series it relates.

use super::*;

impl World {
    /// A first study that is finished, and a second one of the frames 2.3 and 2.4 to come.
    fn with_a_finished_study() -> World {
        let mut world = World::new();
        for series in [LATER_CT, LATER_MR, LATER_REG] {
            world.studies.insert(series, LATER_STUDY);
        }
        world.frames = BTreeMap::from([(LATER_CT, "2.3"), (LATER_MR, "2.4"), (LATER_REG, "2.3")]);
        world.says.insert(LATER_REG, ("1", "2.4", true));
        for series in [CT, MR, REG] {
            world.send(series);
        }
        world.pass(60);
        check_job(world.only_job(), REG);
        world
    }

    /// The registrations that the jobs of a study used, in the order of their names.
    fn used(&self, primary: &str) -> Vec<String> {
        let of = self.jobs.values().filter(|job| job.inputs[0].series.series_instance_uid.as_str() == primary);
        let by =
            of.filter_map(|job| Some(job.inputs.get(1)?.registration.as_ref()?.series.series_instance_uid.to_string()));
        by.collect::<BTreeSet<String>>().into_iter().collect()
    }
}

#[test]
fn a_registration_of_one_study_is_not_lost_with_another_that_is_finished() {
    let mut world = World::with_a_finished_study();
    world.send(LATER_CT);
    world.send(LATER_MR);
    world.pass(20);
    assert_eq!(world.jobs.len(), 1);
    assert!(world.state(LATER_MR).1.contains("waits for a registration"), "{}", world.state(LATER_MR).1);
    world.send(LATER_REG);
    world.pass(60);
    assert_eq!((world.used(CT), world.used(LATER_CT)), (vec![REG.to_owned()], vec![LATER_REG.to_owned()]));
    assert_eq!((world.jobs.len(), world.state(LATER_REG).0), (2, SeriesState::Matched));
    // A corrected one of a study that is finished itself, in whatever study of the patient it lies.
    for (series, study) in [("1.3.31", LATER_STUDY), ("1.3.32", "1.2"), ("1.3.33", "1.5")] {
        let before = world.jobs.len();
        world.studies.insert(series, study);
        world.frames.insert(series, "2.3");
        let date = &series[4..];
        world.says.insert(series, (date, "2.4", true));
        world.send(series);
        world.pass(60);
        assert_eq!(world.jobs.len(), before + 1, "{series}");
        assert!(world.used(LATER_CT).contains(&series.to_owned()) && world.used(CT).len() == 1, "{series}");
    }
    world.crash();
    world.pass(300);
    assert_eq!(world.jobs.len(), 5, "nothing runs again");
}

#[test]
fn a_crash_after_any_effect_loses_no_registration_of_a_second_study() {
    let mut crashes = 0;
    for crash_after in 0.. {
        let mut world = World::with_a_finished_study();
        world.crash_after = Some(crash_after);
        for series in [LATER_CT, LATER_MR, LATER_REG] {
            world.send(series);
            world.pass(20);
        }
        world.pass(300);
        assert_eq!(world.used(LATER_CT), [LATER_REG], "{crash_after}: {:?}", world.history);
        assert_eq!(world.jobs.len(), 2, "{crash_after}");
        if world.crash_after.is_some() {
            break; // It lived to the end.
        }
        crashes += 1;
    }
    assert!(crashes > 20, "only {crashes} crashes");
}

#[test]
fn a_registration_of_two_studies_serves_both() {
    let mut world = World::with_a_finished_study();
    world.frames.clear();
    world.send(LATER_CT);
    world.send(LATER_MR);
    world.pass(60);
    assert_eq!((world.used(CT), world.used(LATER_CT)), (vec![REG.to_owned()], vec![REG.to_owned()]));
    // A newer one too, whichever study is looked at first.
    world.says.insert("1.3.5", ("2", "2.2", true));
    world.send("1.3.5");
    world.pass(60);
    let both = vec![REG.to_owned(), "1.3.5".to_owned()];
    assert_eq!((world.used(CT), world.used(LATER_CT)), (both.clone(), both));
    assert_eq!(world.jobs.len(), 4);
}

#[test]
fn after_an_edit_a_registration_runs_again_only_what_it_relates() {
    let mut world = World::with_a_finished_study();
    world.digest = "edited";
    for series in [LATER_CT, LATER_MR, LATER_REG] {
        world.send(series);
        world.pass(20);
    }
    world.pass(300);
    assert_eq!((world.used(CT), world.used(LATER_CT)), (vec![REG.to_owned()], vec![LATER_REG.to_owned()]));
    assert_eq!(world.jobs.len(), 2, "the first study stays as it is: {:?}", world.history);
    // An older one of the first study is not needed, and changes nothing.
    world.says.insert("1.3.4", ("0", "2.2", true));
    world.send("1.3.4");
    world.pass(300);
    assert_eq!(world.jobs.len(), 2, "{:?}", world.history);
    // A newer one is, and then the definition is the new one.
    world.says.insert("1.3.5", ("2", "2.2", true));
    world.send("1.3.5");
    world.pass(300);
    assert_eq!(world.jobs.len(), 3, "{:?}", world.history);
    assert!(world.used(CT).contains(&"1.3.5".to_owned()));
    assert!(world.history.iter().any(|text| text.contains("looked at anew for pair")), "{:?}", world.history);
}
