//! Records that are numbers of ours: they are only ever added to, and say nothing else.

/// `key_of` of the record gives its keys.
macro_rules! counts {
    ($record:ty, $scope:ty, $type:literal, $collection:literal, $within:expr) => {
        impl Entity for $record {
            type Scope = $scope;
            const TYPE: &'static str = $type;
            const COLLECTION: &'static str = $collection;
            const WITHIN: Option<Within> = $within;
            const AUDITED: bool = false;
            /// A number of ours, whose key is nowhere in it.
            const EXPORTED: bool = false;

            /// It is only ever added to, under the key that `key_of` gives.
            fn key(&self) -> Key<Self> {
                Key::new(&Collection::of::<$record>(), "")
            }
        }
    };
}
