fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<janitor::Janitor>(records::ALL)
}
