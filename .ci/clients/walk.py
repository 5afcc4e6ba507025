"""Logs in, creates a project, finds it in the list and is refused, with the strictly typed client that openapi-python-client makes from openapi.json."""

import datetime
import sys
import uuid

from tenantry_client import AuthenticatedClient, Client
from tenantry_client.api.projects import create_project, delete_project, list_projects
from tenantry_client.api.sessions import login
from tenantry_client.models import (
    Done,
    ListProjectsDirection,
    LoginRequest,
    LoginResponse,
    NewProject,
    NewProjectSettingsType0,
    ProjectPage,
    ProjectResponse,
    ValidationErrorResponse,
)


def main(base_url: str, email: str, password: str) -> None:
    session = login.sync(client=Client(base_url=base_url), body=LoginRequest(email=email, password=password))
    assert isinstance(session, LoginResponse), session
    api = AuthenticatedClient(base_url=base_url, token=session.data.token)

    settings = NewProjectSettingsType0.from_dict({"board": "weekly", "columns": 3})
    created = create_project.sync(
        client=api, body=NewProject(name="From Python", settings=settings), idempotency_key=str(uuid.uuid4())
    )
    assert isinstance(created, ProjectResponse), created
    project = created.data
    assert project.settings["columns"] == 3, project.settings

    page = list_projects.sync(client=api, per_page=50, direction=ListProjectsDirection.DESC)
    assert isinstance(page, ProjectPage), page
    found = next(one for one in page.data if one.id == project.id)
    age = datetime.datetime.now(datetime.timezone.utc) - found.created_at
    assert found.description is None and page.meta.total >= 1 and age < datetime.timedelta(minutes=10), found

    refused = create_project.sync(client=api, body=NewProject(name=""))
    assert isinstance(refused, ValidationErrorResponse), refused
    reasons: list[str] = refused.error.details["name"]
    assert refused.error.code == "VALIDATION_ERROR" and reasons, refused

    deleted = delete_project.sync(project.id, client=api)
    assert isinstance(deleted, Done), deleted
    print(f'Python: {session.data.user.name} made "{found.name}"; an empty name hears "{reasons[0]}"')


if __name__ == "__main__":
    main(*sys.argv[1:])
