//! Workspaces of a tenant (F0), and who belongs to them.

mod member;
mod rules;
mod workspace;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Workspaces;

impl Routes for Workspaces {
    fn declare(routes: &mut impl Registry) {
        routes.tag("workspaces", "What a tenant keeps apart, mostly one for each of its clients.");
        routes.get("/api/v1/tenant/workspaces", "listWorkspaces", "List the workspaces you can reach", workspace::list);
        routes.post("/api/v1/tenant/workspaces", "createWorkspace", "Create a workspace", workspace::create);
        routes.get("/api/v1/tenant/workspaces/{workspace}", "getWorkspace", "Read a workspace", workspace::show);
        routes.patch("/api/v1/tenant/workspaces/{workspace}", "updateWorkspace", "Change a workspace", workspace::update);
        routes.delete(
            "/api/v1/tenant/workspaces/{workspace}",
            "deleteWorkspace",
            "Delete a workspace and all that is in it",
            workspace::delete,
        );
        routes.get(
            "/api/v1/tenant/workspaces/{workspace}/members",
            "listWorkspaceMembers",
            "List the members of a workspace",
            member::list,
        );
        routes.post("/api/v1/tenant/workspaces/{workspace}/members", "addWorkspaceMember", "Add or invite somebody", member::add);
        routes.patch("/api/v1/tenant/workspaces/{workspace}/members/{user_id}", "updateWorkspaceMember", "Change a role", member::update);
        routes.delete(
            "/api/v1/tenant/workspaces/{workspace}/members/{user_id}",
            "removeWorkspaceMember",
            "Remove a member",
            member::remove,
        );
    }
}
