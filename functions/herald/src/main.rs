fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<herald::Herald>(records::ALL)
}
