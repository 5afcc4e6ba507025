fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<receiver::Receiver>(records::ALL)
}
