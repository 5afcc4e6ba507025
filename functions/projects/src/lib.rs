//! Projects and their tasks (F2).

mod project;
mod task;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Projects;

impl Routes for Projects {
    fn declare(routes: &mut impl Registry) {
        routes.get("/api/v1/projects", "List projects", project::list);
        routes.post("/api/v1/projects", "Create a project", project::create);
        routes.get("/api/v1/projects/{uuid}", "Read a project", project::show);
        routes.put("/api/v1/projects/{uuid}", "Change a project", project::update);
        routes.delete("/api/v1/projects/{uuid}", "Delete a project and its tasks", project::delete);
        routes.post("/api/v1/projects/{uuid}/archive", "Archive a project", project::archive);
        routes.post("/api/v1/projects/{uuid}/unarchive", "Restore an archived project", project::unarchive);
        routes.get("/api/v1/projects/{uuid}/tasks", "List the tasks of a project", task::list);
        routes.post("/api/v1/projects/{uuid}/tasks", "Create a task", task::create);
        routes.get("/api/v1/tasks/{uuid}", "Read a task", task::show);
        routes.put("/api/v1/tasks/{uuid}", "Change a task", task::update);
        routes.delete("/api/v1/tasks/{uuid}", "Delete a task", task::delete);
        routes.post("/api/v1/tasks/{uuid}/complete", "Mark a task as completed", task::complete);
    }
}
