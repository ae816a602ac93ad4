//! Display colours as DICOM writes them in segmentations: CIELab, scaled to 16 bits (PS3.3 C.10.7.1.1); it shows none.

use crate::structure::Color;

/// The white of profile connection space, D50 (ICC.1:2010).
const WHITE: [f64; 3] = [0.9642, 1.0, 0.8249];

/// sRGB (IEC 61966-2-1) to XYZ adapted to D50 (Bradford).
const TO_XYZ: [[f64; 3]; 3] = [
    [0.436_074_7, 0.385_064_9, 0.143_080_4],
    [0.222_504_5, 0.716_878_6, 0.060_616_9],
    [0.013_932_2, 0.097_104_5, 0.714_173_3],
];

/// L*, a*, b* of an sRGB colour: 0 to 100 and -128 to 127, each as 0 to 65535.
pub fn cielab(color: Color) -> [u16; 3] {
    let linear = color.0.map(|part| {
        let part = f64::from(part) / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    let mut relative = [0.0; 3];
    for (axis, row) in TO_XYZ.iter().enumerate() {
        let value: f64 = row.iter().zip(linear).map(|(factor, part)| factor * part).sum();
        let ratio = value / WHITE[axis];
        relative[axis] = if ratio > 216.0 / 24_389.0 { ratio.cbrt() } else { (ratio * 24_389.0 / 27.0 + 16.0) / 116.0 };
    }
    let [x, y, z] = relative;
    let scaled = |value: f64, low: f64, high: f64| ((value - low) / (high - low) * 65_535.0).round() as u16;
    [
        scaled(116.0 * y - 16.0, 0.0, 100.0),
        scaled(500.0 * (x - y), -128.0, 127.0),
        scaled(200.0 * (y - z), -128.0, 127.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_of_known_lab_values() {
        let check = |rgb: [u8; 3], lab: [f64; 3]| {
            let found = cielab(Color(rgb)).map(f64::from);
            let found =
                [found[0] / 65_535.0 * 100.0, found[1] / 65_535.0 * 255.0 - 128.0, found[2] / 65_535.0 * 255.0 - 128.0];
            for (found, expected) in found.iter().zip(lab) {
                assert!((found - expected).abs() < 0.15, "{rgb:?}: {found} {expected}");
            }
        };
        // As published for sRGB with D50 (Lindbloom's calculator).
        check([255, 255, 255], [100.0, 0.0, 0.0]);
        check([0, 0, 0], [0.0, 0.0, 0.0]);
        check([255, 0, 0], [54.29, 80.81, 69.89]);
        check([0, 0, 255], [29.57, 68.30, -112.03]);
    }
}
