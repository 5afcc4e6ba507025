fn main() -> Result<(), shared::runtime::StartError> {
    shared::runtime::serve::<auth::Auth>(records::ALL)
}
