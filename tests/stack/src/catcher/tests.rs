//! What was caught survives the process, is bounded, and is counted right by many at once.

use super::*;

fn came(sink: &str, id: &str) -> Caught {
    let mut headers = HeaderMap::new();
    for (name, value) in [(signature::ID, id), (signature::TIMESTAMP, "1"), (signature::SIGNATURE, "v1,AAAA")] {
        headers.insert(name, value.parse().unwrap());
    }
    Caught::read(sink.to_owned(), &headers, b"{}").unwrap()
}

fn secret(byte: u8) -> String {
    use base64::Engine;
    format!("whsec_{}", base64::prelude::BASE64_STANDARD.encode([byte; 24]))
}

#[test]
fn everything_survives_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.sqlite3");
    let catcher = Catcher::open(Journal::open(&path).unwrap()).unwrap();
    catcher.set("mine", Some(&secret(1)), Some(Answer::Slow)).unwrap();
    for answer in [None, Some(Answer::Gone)] {
        catcher.take(came("mine", "a"), answer).unwrap();
    }
    let before = (catcher.caught(), catcher.sinks());
    drop(catcher);
    let catcher = Catcher::open(Journal::open(&path).unwrap()).unwrap();
    assert_eq!((catcher.caught(), catcher.sinks()), before);
    let third = catcher.take(came("mine", "a"), None).unwrap();
    assert_eq!((third.number, third.attempt, third.answer), (3, 3, Answer::Slow));
}

#[test]
fn the_newest_are_kept_of_all_sinks_together() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stack.sqlite3");
    let catcher = Catcher::open(Journal::open(&path).unwrap()).unwrap();
    let most = u64::try_from(MOST_CAUGHT).unwrap();
    for number in 0..most + 3 {
        catcher.take(came(if number % 2 == 0 { "mine" } else { "other" }, &number.to_string()), None).unwrap();
    }
    let numbers = |catcher: &Catcher| catcher.caught().iter().map(|caught| caught.number).collect::<Vec<_>>();
    let newest: Vec<u64> = (4..=most + 3).rev().collect();
    assert_eq!(numbers(&catcher), newest);
    drop(catcher);
    assert_eq!(numbers(&Catcher::open(Journal::open(&path).unwrap()).unwrap()), newest, "on disk too");
}

#[test]
fn a_sink_has_three_secrets_and_there_are_so_many_sinks() {
    let catcher = Catcher::open(Journal::memory().unwrap()).unwrap();
    for byte in [1, 2, 3, 2, 4] {
        catcher.set("mine", Some(&secret(byte)), None).unwrap();
    }
    assert_eq!(catcher.sink("mine").secrets, [secret(4), secret(2), secret(3)]);
    for number in 1..MOST_SINKS {
        catcher.set(&format!("n-{number}"), None, Some(Answer::Gone)).unwrap();
    }
    assert!(matches!(catcher.set("one-more", None, Some(Answer::Gone)), Err(CatcherError::Full)));
    catcher.set("mine", None, Some(Answer::Gone)).unwrap();
    // What is set back to what it was takes no place.
    catcher.set("n-1", None, Some(Answer::Taken)).unwrap();
    catcher.set("one-more", None, Some(Answer::Gone)).unwrap();
    assert_eq!(catcher.sinks().len(), MOST_SINKS);
}

#[test]
fn of_many_posts_of_an_id_at_once_each_is_another_attempt() {
    let catcher = Catcher::open(Journal::memory().unwrap()).unwrap();
    let mut attempts: Vec<u32> = std::thread::scope(|scope| {
        let posts: Vec<_> = (0..8).map(|_| scope.spawn(|| catcher.take(came("mine", "a"), None).unwrap().attempt)).collect();
        posts.into_iter().map(|post| post.join().unwrap()).collect()
    });
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(catcher.caught().iter().map(|caught| caught.number).collect::<Vec<_>>(), [8, 7, 6, 5, 4, 3, 2, 1]);
}
