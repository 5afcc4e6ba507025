//! Links of campaigns' mails: to unsubscribe, to note that a mail was opened or a link of it clicked. Whoever follows one has no account; the link,
//! which we signed, says whose mail it is.

mod events;

use engagement::followed::Engagement;
use engagement::unsubscribing::{self, Wish};
use maud::html;
use records::campaign::CampaignId;
use records::lead::LeadId;
use shared::Result;
use shared::http::Registry;
use shared::http::page::{Page, Pixel, Redirect};
use shared::http::registry::Routes;
use shared::tenancy::doors::Recipient;

use crate::events::Asker;

pub struct Links;

impl Routes for Links {
    fn declare(routes: &mut impl Registry) {
        routes.tag("links of mails", "What the links of campaigns' mails lead to.");
        routes.get("/e/u/{token}", "showUnsubscribePage", "Show the page to unsubscribe", show);
        routes.post("/e/u/{token}", "unsubscribe", "Unsubscribe, by the page's button or with one click (RFC 8058)", unsubscribe);
        routes.get("/e/o/{token}", "noteOpening", "Note that a mail was opened", open);
        routes.get("/e/c/{token}", "followLink", "Follow a link of a mail", click);
    }
}

/// Changes nothing, because programs look at links before people do.
async fn show(door: Recipient) -> Result<Page> {
    let content = html! {
        p { "You will get no more of these mails from " (sender(&door)) "." }
        form method="post" {
            button name="List-Unsubscribe" value="One-Click" { "Unsubscribe" }
        }
    };
    Ok(Page::new("Unsubscribe?".to_owned(), content))
}

/// Whatever the body says: nobody sends a POST to this link who does not mean it.
async fn unsubscribe(door: Recipient) -> Result<Page> {
    // A workspace that was deleted has nothing left to write.
    if door.workspace.is_some() {
        let (mail, outer, store) = (&door.link.mail, &door.outer, &door.store);
        let (lead, campaign) = (LeadId::from(mail.lead()), CampaignId::from(mail.campaign()));
        let address = door.link.to.as_ref();
        unsubscribing::unsubscribe(Wish { outer, store, address, lead, campaign, step: Some(mail.step()) }).await?;
    }
    events::note(&door, Engagement::Unsubscribed, &Asker::PERSON).await;
    let content = html! { p { "You get no more of these mails from " (sender(&door)) "." } };
    Ok(Page::new("You are unsubscribed".to_owned(), content))
}

async fn open(door: Recipient, asker: Asker) -> Result<Pixel> {
    events::note(&door, Engagement::Opened, &asker).await;
    Ok(Pixel)
}

async fn click(door: Recipient, asker: Asker) -> Result<Redirect> {
    events::note(&door, Engagement::Clicked, &asker).await;
    Redirect::to(door.link.url.as_deref().unwrap_or_default())
}

/// Whose mails they are.
fn sender(door: &Recipient) -> &str {
    door.workspace.as_ref().map_or("this sender", |workspace| &workspace.name)
}
