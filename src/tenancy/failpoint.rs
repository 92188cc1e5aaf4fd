//! Steps at which a test may stop the engine: `tests/failpoints` tries each of them. Without the feature `failpoints` there
//! is nothing of them in the binary, their names included.

/// A step of this name. A test may let the process panic, sleep or end here. With a second argument, which makes the
/// enclosing function's error of a [`std::io::Error`], it may also let that function fail here.
///
/// `<what>.<when>`: the name is written once in `src/`.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        ::fail::fail_point!($name);
    };
    ($name:literal, $error:expr) => {
        #[cfg(feature = "failpoints")]
        ::fail::fail_point!($name, |_| Err($error(::std::io::Error::other(concat!("failpoint ", $name)))));
    };
}
