//! Every bound of the program in one file, each with its reason; it does not hold what a site may configure.

/// Longest UID in characters (PS3.5 9.1).
pub const UID_LENGTH_MAX: usize = 64;

/// Longest application entity title in characters (PS3.5 6.2, VR AE).
pub const AE_TITLE_LENGTH_MAX: usize = 16;

/// Largest rows or columns of an image. Detectors end at 4,096; the square stays far below `usize` and `u32`.
pub const IMAGE_SIDE_MAX: usize = 8_192;

/// Most slices in one volume. The longest whole-body CT at 0.5 mm has about 4,000.
pub const SLICES_MAX: usize = 8_192;

/// Most voxels in one volume: 4 GiB as f32, eight times a 512 x 512 x 512 volume.
pub const VOXELS_MAX: usize = 1 << 30;

/// Largest configuration file. The longest published model definition has 30 kB.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting of a configuration file; predicates of people stay under ten.
pub const DOCUMENT_DEPTH_MAX: usize = 64;

/// Most problems listed for one configuration file; past that the list helps nobody.
pub const DOCUMENT_PROBLEMS_MAX: usize = 200;

const _: () = assert!(IMAGE_SIDE_MAX * IMAGE_SIDE_MAX <= VOXELS_MAX);
