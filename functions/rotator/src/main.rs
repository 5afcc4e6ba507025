fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::worker::work::<rotator::Rotator>(records::ALL)
}
