//! What recipients do with a mail, by real requests to the API; and the time that all of it takes in `cargo local`.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header::CONTENT_TYPE, header::USER_AGENT};
use jiff::Timestamp;

use super::script::{self, Meaning, Play};
use super::{Answer, KeptMail, Mailbox, Played};
use crate::client::Api;

/// Only people are counted, and robots are known by their names.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";

/// How long nothing is looked for when nothing is planned. A further mail ends the wait.
const IDLE: Duration = Duration::from_secs(3_600);

const AFTER_TROUBLE: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Fetches the picture that counts who opens a mail.
    Open,
    /// Follows a link, otherwise the first that is counted, as far as our own answer.
    Click(Option<String>),
    /// The one click of RFC 8058: the mail program posts to the address of `List-Unsubscribe`.
    Unsubscribe,
}

impl Act {
    fn name(&self) -> &'static str {
        match self {
            Act::Open => "open",
            Act::Click(_) => "click",
            Act::Unsubscribe => "unsubscribe",
        }
    }

    /// The address that is asked. Only those of the mail itself.
    fn url(&self, kept: &KeptMail) -> Option<String> {
        let links = || script::links(&kept.mail).into_iter();
        match self {
            Act::Open => links().find(|link| link.means == Some(Meaning::Open)).map(|link| link.url),
            Act::Click(None) => links().find(|link| link.means == Some(Meaning::Click)).map(|link| link.url),
            Act::Click(Some(url)) => links().map(|link| link.url).find(|link| link == url),
            Act::Unsubscribe => script::unsubscribe_url(&kept.mail),
        }
    }
}

impl Mailbox {
    /// Does what a recipient would do. Returns the status of the answer, and nothing if the mail has no such link of this API.
    pub async fn act(&self, api: &Api, mail: &str, act: &Act) -> Result<Option<u16>, String> {
        let Some(kept) = self.mail(mail).map_err(text)? else { return Ok(None) };
        let Some((url, path)) = act.url(&kept).and_then(|url| Some((url.clone(), own_path(api, &url)?))) else { return Ok(None) };
        let request = Request::builder().uri(path).header(USER_AGENT, BROWSER);
        let request = match act {
            Act::Unsubscribe => request
                .method(Method::POST)
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Bytes::from_static(b"List-Unsubscribe=One-Click")),
            Act::Open | Act::Click(_) => request.body(Bytes::new()),
        };
        let status = api.send(request.map_err(text)?).await?.status().as_u16();
        let played = Played { what: act.name().to_owned(), at: Timestamp::now().to_string(), url: Some(url), status: Some(status) };
        self.note(mail, played).map_err(text)?;
        Ok(Some(status))
    }

    /// Plays everything at its time.
    pub async fn run(self, api: Api, trouble: impl Fn(&str)) {
        let mut news = self.news();
        loop {
            news.borrow_and_update();
            let pause = match self.play_due(&api, &trouble).await {
                Ok(pause) => pause,
                Err(problem) => {
                    trouble(&format!("the mailbox cannot play: {problem}"));
                    tokio::time::sleep(AFTER_TROUBLE).await;
                    continue;
                }
            };
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Returns how long it is until something else is due.
    async fn play_due(&self, api: &Api, trouble: impl Fn(&str)) -> Result<Duration, String> {
        for (entry, planned) in self.planned().map_err(text)? {
            let now = Timestamp::now();
            if planned.due > now {
                return Ok(planned.due.duration_since(now).unsigned_abs());
            }
            let act = match planned.play {
                Play::Report(report) => {
                    self.publish(&planned.mail, report, now, Some(&entry)).map_err(text)?;
                    continue;
                }
                Play::Reply | Play::OutOfOffice => {
                    let answer = if planned.play == Play::Reply { Answer::usual() } else { Answer::out_of_office() };
                    self.answer(&planned.mail, &answer, now, Some(&entry)).map_err(text)?;
                    continue;
                }
                Play::Open => Act::Open,
                Play::Click => Act::Click(None),
            };
            if self.begin(&entry).map_err(text)?
                && let Err(problem) = self.act(api, &planned.mail, &act).await
            {
                trouble(&format!("the mailbox could not {} a mail: {problem}", act.name()));
            }
        }
        Ok(IDLE)
    }
}

/// Path and query of an address of this API. Nothing leaves the machine.
fn own_path(api: &Api, url: &str) -> Option<String> {
    url.strip_prefix(api.base()).filter(|path| path.starts_with('/'))?;
    script::path(url)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
