//! Projects and their tasks (F2).

mod project;
mod task;

use shared::http::Registry;
use shared::http::registry::Routes;

pub struct Projects;

impl Routes for Projects {
    fn declare(routes: &mut impl Registry) {
        routes.tag("projects", "What a tenant works on.");
        routes.get("/api/v1/projects", "listProjects", "List projects", project::list);
        routes.post("/api/v1/projects", "createProject", "Create a project", project::create);
        routes.get("/api/v1/projects/{uuid}", "getProject", "Read a project", project::show);
        routes.put("/api/v1/projects/{uuid}", "updateProject", "Change a project", project::update);
        routes.delete("/api/v1/projects/{uuid}", "deleteProject", "Delete a project and its tasks", project::delete);
        routes.post("/api/v1/projects/{uuid}/archive", "archiveProject", "Archive a project", project::archive);
        routes.post("/api/v1/projects/{uuid}/unarchive", "unarchiveProject", "Restore an archived project", project::unarchive);
        routes.tag("tasks", "What is to be done in a project.");
        routes.get("/api/v1/projects/{uuid}/tasks", "listTasks", "List the tasks of a project", task::list);
        routes.post("/api/v1/projects/{uuid}/tasks", "createTask", "Create a task", task::create);
        routes.get("/api/v1/tasks/{uuid}", "getTask", "Read a task", task::show);
        routes.put("/api/v1/tasks/{uuid}", "updateTask", "Change a task", task::update);
        routes.delete("/api/v1/tasks/{uuid}", "deleteTask", "Delete a task", task::delete);
        routes.post("/api/v1/tasks/{uuid}/complete", "completeTask", "Mark a task as completed", task::complete);
    }
}
