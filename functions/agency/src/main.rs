fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<agency::Agency>(records::ALL)
}
