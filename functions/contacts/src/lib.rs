//! Whom a tenant writes messages to (F4): contacts and their groups.

mod contact;
mod group;
mod importing;
mod rules;
mod writing;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Contacts;

impl Routes for Contacts {
    fn declare(routes: &mut impl Registry) {
        routes.tag("contacts", "The people a tenant writes messages to.");
        routes.get("/v1/contacts", "listContacts", "List contacts", contact::list);
        routes.post("/v1/contacts", "createContact", "Create a contact", contact::create);
        routes.post("/v1/contacts/import", "importContacts", "Create or change up to 1,000 contacts", importing::import);
        routes.get("/v1/contacts/{id}", "getContact", "Read a contact", contact::show);
        routes.patch("/v1/contacts/{id}", "updateContact", "Change a contact", contact::update);
        routes.delete("/v1/contacts/{id}", "deleteContact", "Delete a contact", contact::delete);
        routes.tag("contact groups", "Contacts that somebody put together.");
        routes.get("/v1/contact-groups", "listContactGroups", "List the groups of contacts", group::list);
        routes.post("/v1/contact-groups", "createContactGroup", "Create a group of contacts", group::create);
        routes.get("/v1/contact-groups/{id}", "getContactGroup", "Read a group of contacts", group::show);
        routes.patch("/v1/contact-groups/{id}", "updateContactGroup", "Change a group of contacts", group::update);
        routes.delete("/v1/contact-groups/{id}", "deleteContactGroup", "Delete a group, and none of its contacts", group::delete);
        routes.get("/v1/contact-groups/{id}/contacts", "listContactsOfGroup", "List the contacts of a group", group::contacts);
        routes.post("/v1/contact-groups/{id}/contacts", "addContactsToGroup", "Put up to 100 contacts into a group", group::add);
        routes.delete(
            "/v1/contact-groups/{id}/contacts",
            "removeContactsFromGroup",
            "Take up to 100 contacts out of a group",
            group::take_out,
        );
    }
}
