fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<operator::Operator>(records::ALL)
}
