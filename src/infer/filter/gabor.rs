//! Gabor filters of planes: a wave within a Gaussian, its modulus; kernels are not separable, so that the cost is their area.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, parallel::prelude::*};

use super::convolution::Boundary;

/// A Gabor kernel; lengths in mm.
#[derive(Clone, Copy, Debug)]
pub struct Gabor {
    /// Deviation of the Gaussian along the wave.
    pub sigma: f64,
    /// Length of the wave.
    pub wavelength: f64,
    /// Deviation along the wave over that across it.
    pub gamma: f64,
    /// Angle of the wave, from columns towards rows, in degrees.
    pub theta: f64,
    /// Of rows and columns.
    pub spacing: [f64; 2],
    /// Rows and columns on each side of the centre.
    pub radius: [usize; 2],
}

impl Gabor {
    /// Real and imaginary part (IBSI-2, chapter 4.4).
    fn kernel(&self) -> [Array2<f32>; 2] {
        let (sin, cos) = self.theta.to_radians().sin_cos();
        let sides = self.radius.map(|radius| 2 * radius + 1);
        let part = |wave: fn(f64) -> f64| {
            Array2::from_shape_fn(sides, |(row, column)| {
                let y = (row as f64 - self.radius[0] as f64) * self.spacing[0];
                let x = (column as f64 - self.radius[1] as f64) * self.spacing[1];
                let (along, across) = (x * cos + y * sin, x * sin - y * cos);
                let across = across * self.gamma;
                let envelope = (-0.5 * (along * along + across * across) / (self.sigma * self.sigma)).exp();
                (envelope * wave(std::f64::consts::TAU * along / self.wavelength)) as f32
            })
        };
        [part(f64::cos), part(f64::sin)]
    }

    /// The modulus of the answer in every plane at right angles to an axis. Rows and columns are the other two axes in
    /// their order.
    pub fn answer(&self, pixels: ArrayView3<'_, f32>, axis: usize, boundary: Boundary) -> Array3<f32> {
        let kernel = self.kernel();
        let mut out = Array3::zeros(pixels.raw_dim());
        let planes = out.axis_iter_mut(Axis(axis)).into_par_iter().zip(pixels.axis_iter(Axis(axis)).into_par_iter());
        planes.for_each(|(mut out, plane)| out.assign(&modulus(plane, &kernel, self.radius, boundary)));
        out
    }
}

fn modulus(
    plane: ArrayView2<'_, f32>,
    kernel: &[Array2<f32>; 2],
    radius: [usize; 2],
    boundary: Boundary,
) -> Array2<f32> {
    let (rows, columns) = plane.dim();
    let sides = radius.map(|radius| 2 * radius + 1);
    // The plane with its surroundings, so that the inner loop reads without a question.
    let wide = Array2::from_shape_fn((rows + 2 * radius[0], columns + 2 * radius[1]), |(row, column)| {
        let row = boundary.place(row as i64 - radius[0] as i64, rows);
        let column = boundary.place(column as i64 - radius[1] as i64, columns);
        row.zip(column).map_or(0.0, |place| plane[place])
    });
    let mut out = Array2::zeros((rows, columns));
    let (mut even, mut odd) = (vec![0.0_f32; columns], vec![0.0_f32; columns]);
    for row in 0..rows {
        even.fill(0.0);
        odd.fill(0.0);
        for down in 0..sides[0] {
            // A convolution turns its kernel round.
            let from = wide.row(row + sides[0] - 1 - down);
            let from = from.as_slice().unwrap_or(&[]);
            for right in 0..sides[1] {
                let (a, b) = (kernel[0][[down, right]], kernel[1][[down, right]]);
                let from = &from[sides[1] - 1 - right..sides[1] - 1 - right + columns];
                even.iter_mut().zip(from).for_each(|(sum, value)| *sum += a * value);
                odd.iter_mut().zip(from).for_each(|(sum, value)| *sum += b * value);
            }
        }
        out.row_mut(row).iter_mut().zip(even.iter().zip(&odd)).for_each(|(out, (a, b))| *out = a.hypot(*b));
    }
    out
}
