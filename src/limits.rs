//! Every bound of the program in one file, each with its reason; it does not hold what a site may configure.

/// Longest UID in characters (PS3.5 9.1).
pub const UID_LENGTH_MAX: usize = 64;

/// Longest application entity title in characters (PS3.5 6.2, VR AE).
pub const AE_TITLE_LENGTH_MAX: usize = 16;

/// Largest rows or columns of an image. Detectors end at 4,096; the square stays far below `usize` and `u32`.
pub const IMAGE_SIDE_MAX: usize = 8_192;

/// Most slices in one volume. The longest whole-body CT at 0.5 mm has about 4,000.
pub const SLICES_MAX: usize = 8_192;

/// Most frames of one series that are sorted into volumes: forty diffusion directions of five hundred slices.
pub const SERIES_FRAMES_MAX: usize = 20_000;

/// Most voxels in one volume: 4 GiB as f32, eight times a 512 x 512 x 512 volume.
pub const VOXELS_MAX: usize = 1 << 30;

/// Largest configuration file. The longest published model definition has 30 kB.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Deepest nesting of a configuration file; predicates of people stay under ten.
pub const DOCUMENT_DEPTH_MAX: usize = 64;

/// Most problems listed for one configuration file; past that the list helps nobody.
pub const DOCUMENT_PROBLEMS_MAX: usize = 200;

/// Most rounds of STAPLE; structures that agree at all need under a hundred.
pub const STAPLE_ROUNDS_MAX: usize = 10_000;

/// Longest id of a pipeline, step, model or peer: it names files and stands in log lines.
pub const ID_LENGTH_MAX: usize = 64;

/// Longest regular expression, glob or part to be searched for. Longer ones are mistakes or attacks.
pub const PATTERN_LENGTH_MAX: usize = 1_024;

/// Most memory of one compiled pattern; `(a{1000}){1000}` would take gigabytes.
pub const PATTERN_SIZE_MAX: usize = 1 << 20;

/// Longest path through nested sequences; functional groups need three.
pub const TAG_PATH_LENGTH_MAX: usize = 8;

/// Most values of one attribute of one instance that a predicate looks at; per-frame groups of 8,192 frames fit.
pub const SEQUENCE_VALUES_MAX: usize = 1 << 16;

/// Most characters of an attribute's value that a trace repeats; descriptions end at 64 (VR LO).
pub const TRACE_VALUE_LENGTH_MAX: usize = 64;

/// Most steps of one pipeline; the largest published chain has five.
pub const PIPELINE_STEPS_MAX: usize = 64;

/// Largest component of a display colour (PS3.3 C.8.8.5, ROI Display Color is 8 bits in use).
pub const COLOR_COMPONENT_MAX: i64 = 255;

/// Shortest PDU that may be configured: smaller ones only cost time (PS3.8 D.1 sets no bound).
pub const PDU_BYTES_MIN: u32 = 4_096;

/// Largest count that may be configured (associations, threads); above it stands a mistyped number.
pub const SETTING_COUNT_MAX: u64 = 65_536;

/// Largest size in MB that may be configured: 16 TB.
pub const SETTING_MB_MAX: u64 = 16 << 20;

/// Longest host name (RFC 1035 2.3.4).
pub const HOST_LENGTH_MAX: usize = 253;

/// Most files of one kind in the configuration; the largest published collection of models has 32.
pub const CONFIGURATION_FILES_MAX: usize = 1_024;

/// Most files that one call of `contourd explain` reads: their headers are held in memory, about 20 kB each.
pub const EXPLAIN_FILES_MAX: usize = 100_000;

/// Most files of one cohort: their names and UIDs are held in memory, about 250 bytes each.
pub const COHORT_FILES_MAX: usize = 5_000_000;

/// Most cases that run at the same time; above it stands a mistyped number.
pub const COHORT_JOBS_MAX: usize = 256;

/// Largest file of an image that is not DICOM: the most voxels of a volume as 64 bit numbers, and what stands before them.
pub const IMAGE_FILE_BYTES_MAX: u64 = ((VOXELS_MAX as u64) << 3) + (64 << 20);

/// Where the voxels of a NIfTI file may begin: behind its header and extensions, of which published ones stay below a
/// megabyte. It is a number of the file, which says so in 32 bit floating point.
pub const NIFTI_EXTENSIONS_BYTES_MAX: f32 = (16 << 20) as f32;

/// Longest header of an NRRD file; a segmentation with a hundred segments has 40 kB.
pub const NRRD_HEADER_BYTES_MAX: usize = 4 << 20;

/// Most data files of one detached NRRD header: one for each slice.
pub const NRRD_DATA_FILES_MAX: usize = SLICES_MAX;

/// How often the table of a cohort is written while it runs: ten thousand cases have megabytes of it.
pub const COHORT_SUMMARY_S: u64 = 10;

/// How long the configuration must be quiet before it is read again: editors write a file in several steps.
pub const CONFIGURATION_SETTLE_MS: u64 = 300;

/// Longest time in seconds that a configuration may make something wait: a week.
pub const WAIT_S_MAX: f64 = 604_800.0;

const _: () = assert!(IMAGE_SIDE_MAX * IMAGE_SIDE_MAX <= VOXELS_MAX);

/// Deepest nesting of sequences in a data set; the deepest standard object has under ten. The parser behind the
/// scanner recurses and dies on a thread's 2 MiB stack between 1,600 and 1,800 levels.
pub const NESTING_MAX: usize = 63;

/// Most elements and items in one data set from the network: an enhanced image of 5,000 frames with 100 elements each.
pub const ELEMENTS_MAX: usize = 500_000;

/// Longest header (all before the pixel data) from the network. Structure sets and enhanced images reach tens of megabytes.
pub const HEADER_BYTES_MAX: u64 = 128 << 20;

/// Longest element that a listener reads the value of; what it has to know of an instance has some bytes.
pub const RECEIVED_ELEMENT_BYTES_MAX: usize = 32 << 10;

/// Bytes of elements that a listener reads the values of, large ones left out before. Headers of images have some tens of
/// thousands.
pub const RECEIVED_HEADER_BYTES_MAX: usize = 256 << 10;

/// Most elements and items in a file, which may be one of ours: 150 structures on 1,000 slices are 1.4 million.
pub const FILE_ELEMENTS_MAX: usize = 8_000_000;

/// Longest header of a file, which may be a structure set of ours.
pub const FILE_HEADER_BYTES_MAX: u64 = 1 << 30;

/// Longest file meta group; a usual one has 200 bytes.
pub const META_BYTES_MAX: u64 = 64 << 10;

/// Most fragments of encapsulated pixel data: one for each frame, or one for each 64 KiB of them.
pub const FRAGMENTS_MAX: usize = 1 << 17;

/// Most bytes that a deflated data set may inflate to; a volume of 512 x 512 x 1,000 has half of it.
pub const INFLATED_BYTES_MAX: u64 = 1 << 30;
/// How often the memory of a worker is looked at. A worker that fills memory at 2 GB/s gains 0.5 GB in this time.
pub const WORKER_MEMORY_POLL_MS: u64 = 250;

/// Longest report of a worker: a run with a thousand structures has about 200 kB.
pub const WORKER_REPORT_BYTES_MAX: usize = 16 << 20;
/// Longest command set. The longest that is sent here has about 300 bytes; those of other services reach a few kB.
pub const COMMAND_BYTES_MAX: usize = 64 << 10;

/// Longest A-ASSOCIATE PDU. 128 contexts with 30 transfer syntaxes each have 110 kB; user information, a SAML assertion
/// among it, has at most 64 kB. Everybody may send one, and [`PENDING_CONNECTIONS_MAX`] may be held at the same time.
pub const ASSOCIATE_BYTES_MAX: u32 = 256 << 10;

/// Longest P-DATA-TF that is offered and sent: what one association may hold in memory for each of its buffers.
pub const PDU_BYTES_MAX: u32 = 1 << 20;

/// Most presentation contexts: the odd numbers of one byte (PS3.8 9.3.2.2).
pub const PRESENTATION_CONTEXTS_MAX: usize = 128;

/// Most empty fragments or P-DATA-TF in one association; the standard allows them, no sender needs many.
pub const EMPTY_FRAGMENTS_MAX: u32 = 10_000;

/// Slowest that a message may come, over the time that the peer is waited for: a slice of a CT in nine minutes.
pub const MESSAGE_BYTES_PER_S_MIN: u64 = 1_000;

const _: () = assert!(COMMAND_BYTES_MAX as u32 <= PDU_BYTES_MAX);
const _: () = assert!(PENDING_CONNECTIONS_MAX as u64 * ASSOCIATE_BYTES_MAX as u64 <= 160 << 20);

/// Most points of all contours of one structure set. Hundreds of structures on thousands of slices stay below a tenth;
/// at 25 bytes a point it is 250 MB, below the 4 GiB of a sequence and the memory of a worker.
pub const CONTOUR_POINTS_MAX: usize = 10_000_000;

/// Longest Structure Set Label (PS3.5 6.2, VR SH); Eclipse takes it as the ID of the structure set.
pub const LABEL_LENGTH_MAX: usize = 16;

/// Longest Series Description (PS3.5 6.2, VR LO).
pub const SERIES_DESCRIPTION_LENGTH_MAX: usize = 64;

/// Most objects of one pipeline: a structure set for each model of the largest chain, and some more.
pub const PIPELINE_OUTPUTS_MAX: usize = 32;

/// Farthest that simplifying may move a contour, in pixels: at more, voxels come and go (measured in `contour`).
pub const TOLERANCE_PIXELS_MAX: f64 = 0.33;

/// Fewest points that a contour may be limited to: a smaller limit is a mistake, because a small vessel has ten.
pub const CONTOUR_POINTS_LEAST: usize = 16;

/// Most decimals of a coordinate in mm: a hundredth of a micrometre, with four digits and a sign before it, fits VR DS.
pub const COORDINATE_DECIMALS_MAX: usize = 5;

/// Most points of the polygons in a structured report: each contour has its own items there, and readers hold all of them.
pub const SR_POINTS_MAX: usize = 1_000_000;

/// Most parts of a structure that are structures of their own: what a person can look at one by one.
pub const STRUCTURE_PARTS_MAX: usize = 99;

/// Longest name of a structure in a pipeline (PS3.5 6.2, VR LO); destinations that take less get it shortened.
pub const STRUCTURE_NAME_LENGTH_MAX: usize = 64;

/// Most files in quarantine: evidence for an operator, which must not fill the disk.
pub const QUARANTINE_FILES_MAX: usize = 256;

/// Series folders that the spool remembers as durable; forgetting one costs two fsyncs.
pub const SERIES_FOLDERS_KNOWN_MAX: usize = 4_096;

/// How many bytes of one instance are written between two looks at the free space.
pub const FLOOR_CHECK_BYTES: u64 = 16 << 20;

/// Most files in one folder of produced objects, and how deep its folders go; a worker makes about twenty.
pub const OBJECT_FILES_MAX: usize = 4_096;
/// See [`OBJECT_FILES_MAX`].
pub const OBJECT_FOLDERS_DEPTH_MAX: usize = 4;
/// Most images that one model takes; multi-parametric MR uses four.
pub const MODEL_INPUTS_MAX: usize = 16;

/// Most labels of one model, and the highest channel or label value; whole-body networks have 118. A byte holds a label.
pub const MODEL_LABELS_MAX: usize = 254;

/// Most post-processing operations of one model: each costs up to seconds on a large image.
pub const MODEL_STEPS_MAX: usize = 1_000;

/// Longest side of a network's window in voxels, as long as the longest side of an image.
pub const WINDOW_SIDE_MAX: usize = IMAGE_SIDE_MAX;

/// Most bytes that blending of windows may hold at once (values and weights of one window's slices).
pub const WINDOW_BYTES_MAX: usize = 8 << 30;

/// Longest text of a model definition (intended use, reference): a page.
pub const MODEL_TEXT_LENGTH_MAX: usize = 4_096;

/// Longest file of certificates or keys; the authorities of all browsers together have 220 kB.
pub const TLS_FILE_BYTES_MAX: u64 = 4 << 20;

/// How many days before its end a certificate of ours is told in the log: time for the way through an IT department.
pub const CERTIFICATE_WARNING_DAYS: i64 = 30;

/// How far the clock of another machine may be from ours before an operator is told: dates of certificates and times of
/// objects do not care for less.
pub const CLOCK_SKEW_WARNING_S: i64 = 60;

/// Connections that wait to be accepted. Where a crowd fills the queue, the system tells callers that they are connected and
/// brings them seconds later; the kernel takes at most `net.core.somaxconn`, by default 4,096.
pub const LISTEN_QUEUE_MAX: u32 = 4_096;

/// Most connections that have not sent an A-ASSOCIATE-RQ; then the oldest is closed. Below the usual 1,024 open files.
pub const PENDING_CONNECTIONS_MAX: usize = 600;

/// Most peers that are remembered as complained about; a flood from more addresses is not logged line by line.
pub const QUIET_PEERS_MAX: usize = 1_024;

/// Pieces of a data set (each at most one PDU) between an association and its disk.
pub const STORE_QUEUE_LENGTH: usize = 8;

/// Memory in MiB of the headers that are checked at the same time, all associations together. A large one may take
/// 190 MiB; an image takes 14, so that images of eighteen senders are checked side by side.
pub const CHECKED_MIB_MAX: usize = 256;

/// What an element or item takes in memory that was walked through, besides its bytes; the smallest has eight bytes.
pub const SCANNED_ELEMENT_MEMORY_BYTES: u64 = 112;

/// What a byte of a header may take in memory that is parsed: each second one may end a value, which becomes a string.
pub const PARSED_BYTE_MEMORY_BYTES: u64 = 25;

/// What an element or item of a parsed header takes in memory besides its bytes, about; the smallest has eight bytes.
pub const ELEMENT_MEMORY_BYTES: u64 = 176;

/// Most memory of all headers of one series, about: 8,192 slices with 20 kB and 300 elements each have 0.8 GB, and 5,000
/// with 150 kB of a scanner's private elements 1.8 GB.
pub const SERIES_HEADERS_BYTES_MAX: u64 = 2 << 30;

/// Series that are assessed at the same time: each holds all of its headers, and more than there are processors are no
/// faster.
pub const ASSESSMENTS_MAX: usize = 2;

/// Fragments are collected up to this many bytes before they go to the disk; the smallest have one.
pub const FRAGMENTS_COLLECTED_BYTES: usize = 64 << 10;

/// Most refused instances that one association may have logged one by one; the sum is logged at its end.
pub const REFUSALS_LOGGED_MAX: u64 = 20;

/// Most series of one association that are named at its end; those beyond are completed by time.
pub const SERIES_PER_ASSOCIATION_MAX: usize = 1_024;

/// What a peer may still send after we have ended the association, before the connection is cut.
pub const LINGER_BYTES_MAX: usize = 16 << 20;
/// Fewest slices of a volume unless a caller says otherwise: with two, a missing slice cannot be seen.
pub const VOLUME_SLICES_MIN: usize = 3;

/// Fewest slices of a volume beside others of another direction or matrix: localizers have up to three of each direction.
pub const STACK_SLICES_MIN: usize = 5;

/// Most volumes of one series; each is a job. The largest that are contoured are thirty directions of diffusion, or the
/// twenty phases of a heart.
pub const VOLUMES_MAX: usize = 64;

/// Longest P-DATA-TF that we send and, as a requestor, offer: what widespread peers take at most in one piece.
pub const SEND_PDU_BYTES_MAX: u32 = 131_072;

/// Largest file that is sent; it is held in memory while it is.
pub const SENT_OBJECT_BYTES_MAX: u64 = 1 << 30;

/// Most files of one `contourd send`, and how deep its folders go (a loop of links ends there).
pub const SEND_FILES_MAX: usize = 1_000_000;
/// See [`SEND_FILES_MAX`].
pub const SEND_FOLDERS_DEPTH_MAX: usize = 32;
/// How often the node looks at the time. The shortest quiet time that a site can set is a second.
pub const TICK_MS: u64 = 200;

/// Most events that share one durable write of the ledger.
pub const EVENT_BATCH_MAX: usize = 256;

/// Most events that wait for the loop; past that, senders wait for their acknowledgement.
pub const EVENT_QUEUE_MAX: usize = 1_024;

/// How often the ledger is asked for requests of operators.
pub const REQUEST_POLL_MS: u64 = 1_000;

/// Wait after a failed write of the ledger: a full disk is not cured faster.
pub const LEDGER_RETRY_MS: u64 = 1_000;

/// Longest side of a picture in a report, in pixels: finer than the pixels of most images, small enough to mail.
pub const PICTURE_SIDE: usize = 640;

/// Most slices in a montage: a hundred structures do not make a page that nobody scrolls.
pub const PICTURES_MAX: usize = 24;

/// Most planes in each other direction: three, the breadth of a page, show nearly all structures from a second side.
pub const PICTURE_PLANES_MAX: usize = 3;

/// Sides of a picture for archives, in pixels: what a viewer shows of a square image without scaling.
pub const CAPTURE_SIDE: usize = 1_024;

/// Pictures of nothing but checks and warnings, for archives: more than a hundred lines are read on the page.
pub const CAPTURE_CHECKS_SHEETS_MAX: usize = 4;

/// Most notices of the receiver that wait for the loop.
pub const NOTICE_QUEUE_MAX: usize = 256;

/// Deliveries that go on at the same time, all destinations together: a slow one must not hold the others back.
pub const DELIVERIES_MAX: usize = 16;

/// Up to this size a worker's allocator keeps what was freed, as text for its environment: 1 GiB, above the largest
/// array of a run of 500 slices.
pub const WORKER_MALLOC_KEEP_BYTES: &str = "1073741824";

/// Wait of a job after each worker that it lost, times their number. A full disk or a short table of processes passes.
pub const LOST_WORKER_WAIT_S: i64 = 5;

/// Deliveries to one destination at the same time: more make no destination faster, and a dead one holds only these.
pub const DELIVERIES_EACH_MAX: usize = 2;

/// One delivery in all, however slowly it goes on.
pub const DELIVERY_S_MAX: u64 = 3_600;

/// One file in a folder: a mount that hangs is not waited for as long as a destination that goes on slowly.
pub const FOLDER_FILE_S_MAX: u64 = 600;

/// Most networks of one model: five folds in three views with a low-resolution stage.
pub const MODEL_NETWORKS_MAX: usize = 32;

/// Most channels of one network's input: five slices of three images, and masks.
pub const MODEL_CHANNELS_MAX: usize = 64;

/// Farthest slice that a channel may take, counted from the current one.
pub const CHANNEL_OFFSET_MAX: i64 = 64;

/// Highest value in a network's label map; published ones stay below a byte.
pub const MODEL_LABEL_VALUE_MAX: usize = 4_095;

/// Files of networks that a worker keeps loaded between jobs, in bytes; what they hold in memory is about as much.
pub const NETWORKS_BYTES_KEPT: u64 = 4 << 30;
/// Most slots of one pipeline: as many images as one model takes, each from a series of its own.
pub const PIPELINE_INPUTS_MAX: usize = MODEL_INPUTS_MAX;

/// Longest name of a structure that is looked for, in bytes (PS3.5 6.2, VR LO, with room for other alphabets).
pub const ROI_NAME_LENGTH_MAX: usize = 256;

/// Most names that one structure may be looked for by; the longest published list has eleven.
pub const STRUCTURE_ALIASES_MAX: usize = 256;

/// Most items of a registration object, and most matrices of one: a Frame of Reference each, of which a patient has tens.
pub const REGISTRATION_ITEMS_MAX: usize = 256;

/// Most series that are kept for one item of a registration that names images alone.
pub const REGISTRATION_SERIES_MAX: usize = 16;

/// Most assignments of series to slots that are tried for one pipeline; a study has tens of series, few of which fit.
pub const JOIN_STEPS_MAX: usize = 10_000;

/// Most frames of one segmentation: a hundred segments on a thousand slices.
pub const SEGMENT_FRAMES_MAX: usize = 1 << 17;

/// Most segments of one segmentation: their number has 16 bits, and 0 is the background of a label map.
pub const SEGMENT_LABELS_MAX: usize = 65_535;

/// Most bytes of pixels, or of a registration's vectors, in an object that we write: a length has 32 bits, and many
/// readers take it as a signed number.
pub const OBJECT_VALUE_BYTES_MAX: usize = 1 << 31;

/// How often a pipeline of several series looks whether others of the study are still arriving.
pub const SETTLE_POLL_S: i64 = 1;

/// Sums of windows up to this size are kept in single precision; above it in half: 117 classes on a trunk at 1.5 mm have
/// 4.5 GB in single precision, half of the memory that such a run may take.
pub const WINDOW_SINGLE_BYTES_MAX: usize = 1 << 30;

/// Slices of half-precision sums that are handed on at once, in single precision.
pub const WINDOW_SLICES_AT_ONCE: usize = 4;

const _: () = assert!(WINDOW_SINGLE_BYTES_MAX <= WINDOW_BYTES_MAX);

/// Most structures of one file that are compared or sampled; whole-body label maps have about 120.
pub const STRUCTURES_LOOKED_AT_MAX: usize = 4_096;

/// Most points of a dose-volume histogram: 100 Gy in steps of 1 mGy.
pub const DVH_POINTS_MAX: usize = 100_000;

/// Different values of an image that are counted at once for the figures of a structure: more than a CT or MR has, so that
/// it is gone through once; an image of real numbers is gone through again for each million of them (some 30 MB).
pub const VALUES_HELD_MAX: usize = 1 << 20;
/// Most references in one storage commitment transaction: a whole-body study in thin slices has some thousands.
pub const COMMITMENT_REFERENCES_MAX: usize = 20_000;

/// Longest data set of a storage commitment: as many references as are allowed, each with two UIDs of 64 characters.
pub const COMMITMENT_BYTES_MAX: usize = COMMITMENT_REFERENCES_MAX * 176 + 4_096;

/// Most storage commitments that are not reported yet; beyond it resource limitation is answered, and the peer asks again.
pub const COMMITMENTS_OPEN_MAX: usize = 256;

/// Most references of all of them, which the node holds in memory: about 50 MB.
pub const COMMITMENT_REFERENCES_OPEN_MAX: usize = 200_000;

/// The share of one peer in both: one that never takes its reports leaves room for the others.
pub const COMMITMENTS_OPEN_EACH_MAX: usize = COMMITMENTS_OPEN_MAX / 4;
pub const COMMITMENT_REFERENCES_OPEN_EACH_MAX: usize = COMMITMENT_REFERENCES_OPEN_MAX / 4;

/// How long a storage commitment that has ended stays in the ledger, for people and for peers that ask for it again.
pub const COMMITMENT_KEPT_DAYS: i64 = 90;

/// Before a report goes out on the association that asked for it: a peer that releases at once wants it on another, and
/// a report that crosses its release confuses some.
pub const COMMITMENT_REPORT_DELAY_MS: u64 = 300;

/// For the peer to answer a report on the association that asked for it; after that another one is opened.
pub const COMMITMENT_REPORT_ANSWER_S: u64 = 30;

/// How long our own request for commitment waits for the report on its association; most peers open another one.
pub const COMMITMENT_SAME_ASSOCIATION_S: u64 = 5;

/// Storage commitments that are checked at the same time: each reads its instances from disk.
pub const COMMITMENT_CHECKS_MAX: usize = 2;

/// Verdicts of storage commitment that are remembered, so that a report which is repeated is answered with success.
pub const COMMITMENT_VERDICTS_KEPT: usize = 1_024;

/// Most pending answers to a C-FIND that asks for one instance. More than one is the peer's confusion.
pub const FIND_ANSWERS_MAX: usize = 64;

/// Longest answer to a C-FIND.
pub const FIND_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Most answers to a C-FIND for studies or series; a study has seldom a hundred series.
pub const FIND_LISTED_MAX: usize = 10_000;

/// Most answers to a C-FIND for the instances of a series: as many as can be a volume, and phases of it.
pub const FIND_INSTANCES_MAX: usize = SERIES_FRAMES_MAX;

/// All answers to one C-FIND together.
pub const FIND_BYTES_MAX: usize = 64 << 20;

/// Most modalities of one answer to a C-FIND that are kept.
pub const FIND_MODALITIES_MAX: usize = 64;

/// One C-FIND in all, however slowly its answers come.
pub const FIND_S_MAX: u64 = 300;

/// How long the answer to a C-CANCEL is waited for; a peer may send what is under way before it.
pub const CANCEL_S_MAX: u64 = 20;

/// How long a C-MOVE or C-GET may bring nothing: an archive that reads from tape takes minutes.
pub const RETRIEVE_STALL_S: u64 = 900;

/// One C-MOVE or C-GET of a series in all, however slowly it goes on.
pub const RETRIEVE_S_MAX: u64 = 6 * 3_600;

/// Most answers to one C-MOVE or C-GET: one for each instance of the largest series, and some more.
pub const RETRIEVE_RESPONSES_MAX: usize = 4 * SERIES_FRAMES_MAX;

/// Longest data set of an answer to a C-MOVE or C-GET: a list of UIDs.
pub const RETRIEVE_ANSWER_BYTES_MAX: usize = 2 << 20;

/// Most instances that are listed as failed.
pub const RETRIEVE_FAILED_MAX: usize = SERIES_FRAMES_MAX;

/// Retrievals that go on at the same time, and those from one peer: they share its disks and our network.
pub const RETRIEVALS_MAX: usize = 4;
/// See [`RETRIEVALS_MAX`].
pub const RETRIEVALS_EACH_MAX: usize = 1;

/// How often a retrieval is tried, within the age that the peer's `retry` allows.
pub const RETRIEVAL_ATTEMPTS_MAX: u32 = 6;

/// Most series of one retrieval: a study has seldom a hundred.
pub const RETRIEVAL_SERIES_MAX: usize = 1_000;

/// Most series that one missing input may bring.
pub const FETCH_SERIES_MAX: i64 = 64;

/// Most studies that are looked through for a prior series, the latest first.
pub const FETCH_STUDIES_MAX: usize = 32;

/// How long the instances of a retrieval that has ended are waited for on their way to the node.
pub const FETCH_SETTLE_S: i64 = 60;

/// How long an optional input that is fetched holds back the others at most, from when they were there.
pub const FETCH_OPTIONAL_S: i64 = 1_800;

/// How long the record of a retrieval is kept after its end. A missing input is not asked for again meanwhile.
pub const RETRIEVAL_KEPT_DAYS: i64 = 90;

/// How often the source of a series is asked how many instances it has, for each revision of the series.
pub const SOURCE_QUESTIONS_MAX: u32 = 4;

/// Questions to one peer at the same time.
pub const SOURCE_QUESTIONS_EACH_MAX: usize = 4;

/// After which time a question counts as unanswered, whatever became of it.
pub const SOURCE_UNANSWERED_S: i64 = 4 * SOURCE_ANSWER_S_MAX as i64;

/// How long such a question may take in all.
pub const SOURCE_ANSWER_S_MAX: u64 = 60;

/// How often `contourd pull` looks how far a retrieval is, and how long it takes the gateway for running that has not
/// taken it.
pub const PULL_POLL_MS: u64 = 300;
/// See [`PULL_POLL_MS`].
pub const PULL_TAKEN_S: u64 = 5;

/// First and longest wait between two looks for instances that the destination does not show yet, in seconds. Archives
/// file what they have acknowledged within seconds to minutes.
pub const FIND_AGAIN_S: (f64, f64) = (2.0, 60.0);

/// After a restart, for reports that the destination could not bring while the gateway was away, in seconds.
pub const REPORT_GRACE_S: i64 = 300;

/// Most parts of one multipart body: a whole-body study in thin slices has some thousands.
pub const MULTIPART_PARTS_MAX: usize = 20_000;

/// Longest boundary. RFC 2046 5.1.1 allows 70 characters; Orthanc sends two UUIDs, which are 73.
pub const MULTIPART_BOUNDARY_LENGTH_MAX: usize = 200;

/// Longest headers of one part, all together; a usual part has 100 bytes.
pub const MULTIPART_HEADER_BYTES_MAX: usize = 16 << 10;

/// Most bytes before the first and behind the last boundary, which mean nothing.
pub const MULTIPART_AROUND_BYTES_MAX: usize = 64 << 10;

/// Longest head of an HTTP request, and the room in memory for what is read of its body at once.
pub const HTTP_BUFFER_BYTES_MAX: usize = 128 << 10;

/// Most headers of an HTTP request; a reverse proxy adds ten to those of a client.
pub const HTTP_HEADERS_MAX: usize = 64;

/// Most HTTP connections whose caller is not known yet, or that wait for another request; then the oldest is closed.
pub const HTTP_PENDING_MAX: usize = 128;

/// What a body has to bring at least in each time of silence that is allowed: less is a peer that holds a connection.
pub const HTTP_PACE_BYTES: u64 = 16 << 10;

/// When a caller that was turned away for a while is to come again, in seconds.
pub const HTTP_RETRY_AFTER_S: u64 = 60;

/// Longest token that a caller of HTTP may present; 256 bits in hexadecimal digits are 64.
pub const HTTP_TOKEN_BYTES_MAX: usize = 1_024;

/// Most watched folders; each has a task.
pub const FOLDERS_MAX: usize = 32;

/// How deep a watched folder is looked into; exports are patient, study and series.
pub const FOLDER_DEPTH_MAX: usize = 16;

/// Most files of a watched folder that are seen at once; more come after these. Their names are held in memory.
pub const FOLDER_FILES_MAX: usize = 100_000;

/// Pieces in which a file of a watched folder is read.
pub const FOLDER_READ_BYTES: usize = 256 << 10;

/// How many times as long a file that would be refused, or that has parts which were never written, is waited for as a whole
/// one: a copy over the network may have stopped for a while.
pub const FOLDER_CUT_PATIENCE: u32 = 12;

/// After an error of the disk, or a storage that is full, before a watched folder is looked at again, in seconds.
pub const FOLDER_TROUBLE_S: u64 = 15;

/// How many files of a watched folder may fail to be stored in a row before all of them wait.
pub const FOLDER_FAILURES_MAX: u32 = 3;

/// How often a file of a watched folder is tried that fails by a defect of this program, before it is refused.
pub const FOLDER_TRIES_MAX: u32 = 3;

/// How long a watched folder must be quiet before a change in it is told: a copy is many changes.
pub const FOLDER_NOTICE_MS: u64 = 500;

const _: () = assert!(HTTP_PENDING_MAX * HTTP_BUFFER_BYTES_MAX <= 32 << 20);
/// Most destinations of which one gets the results: a planning system, its standby, and archives behind them.
pub const FAIL_OVER_PEERS_MAX: usize = 8;

/// Most attempts before the next destination has its turn; with waits of seconds that is a day.
pub const FAIL_OVER_ATTEMPTS_MAX: u32 = 1_000;

/// Longest answer of a DICOMweb server that is read: what it says of one instance has kilobytes.
pub const WEB_ANSWER_BYTES_MAX: usize = 1 << 20;

/// Most characters of a web server's own words in our reasons; a page of HTML helps nobody.
pub const WEB_REASON_LENGTH_MAX: usize = 200;

/// What is read of a file at once while it is sent to a web server; two of them wait at most.
pub const WEB_CHUNK_BYTES: usize = 256 << 10;

/// Longest file of a password or token.
pub const LOGIN_BYTES_MAX: u64 = 16 << 10;
