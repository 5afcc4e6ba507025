fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<sender::Sender>(records::ALL)
}
