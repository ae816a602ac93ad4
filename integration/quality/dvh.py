#!/usr/bin/env python3
"""The DVHs of a real plan by `contourd dvh`, pyCERR, dicompyler-core and the planning system that made the dose.

    dvh.py FOLDER           with rtdose.dcm, rtss.dcm and ct.0.dcm; CONTOURD in the environment names the program

The plan comes with one CT slice only. pyCERR needs them all, so slices without an image are made on the planes of the
contours. Fails where contourd and pyCERR, on the same grid, differ by more than a bin of the dose or 1 % of the volume.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pydicom.dicomio
from pydicom.uid import generate_uid

BIN_GY = 0.05


def make_images(folder, structures):
    """CT slices on all planes of the contours, in the grid of the one that is there."""
    series = folder / "ct"
    series.mkdir(exist_ok=True)
    z = sorted({round(float(c.ContourData[2]), 2) for roi in structures.ROIContourSequence
                for c in getattr(roi, "ContourSequence", [])})
    gaps = np.diff(z)
    step = float(np.median(gaps[gaps > 0.5]))
    planes = np.arange(round((z[-1] - z[0]) / step) + 3) * step + z[0] - step
    template = pydicom.dcmread(folder / "ct.0.dcm")
    # The UIDs that the structure set names: pyCERR finds the image of a contour by them.
    frame = structures.ReferencedFrameOfReferenceSequence[0]
    series_of = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    named = {round(float(c.ContourData[2]), 1): c.ContourImageSequence[0].ReferencedSOPInstanceUID
             for roi in structures.ROIContourSequence for c in getattr(roi, "ContourSequence", [])
             if "ContourImageSequence" in c}
    template.SeriesInstanceUID = series_of.SeriesInstanceUID
    template.FrameOfReferenceUID = frame.FrameOfReferenceUID
    template.SliceThickness = step
    for number, position in enumerate(planes, 1):
        uid = named.get(round(float(position), 1))
        template.SOPInstanceUID = uid or generate_uid(entropy_srcs=["quality", str(number)])
        template.file_meta.MediaStorageSOPInstanceUID = template.SOPInstanceUID
        template.ImagePositionPatient[2] = round(float(position), 3)
        template.SliceLocation = round(float(position), 3)
        template.InstanceNumber = number
        template.save_as(series / f"{number:03}.dcm")
    return series


def contourd(folder, *more):
    subprocess.run(
        [os.environ["CONTOURD"], "dvh", "--dose", folder / "rtdose.dcm", "--structures", folder / "rtss.dcm",
         "--metric", "D95%", "--metric", "D2%", "--metric", "D2cc", "--metric", "V5Gy", "--json", folder / "found.json",
         "--csv", folder / "found.csv", "--svg", folder / "found.svg", *more],
        check=True, stdout=subprocess.DEVNULL)
    return {line["structure"]: line for line in json.loads((folder / "found.json").read_text())["results"]}


def pycerr(folder, series):
    from cerr import dvh, plan_container
    plan = plan_container.loadDcmDir([str(series), str(folder / "rtss.dcm"), str(folder / "rtdose.dcm")])
    results = {}
    for index, structure in enumerate(plan.structure):
        doses, volumes, error = dvh.getDVH(index, 0, plan)
        # Outside the dose grid pyCERR has no number.
        doses, volumes = doses[np.isfinite(doses)], volumes[np.isfinite(doses)]
        if error or not len(doses):
            continue
        bins, histogram = dvh.doseHist(doses, volumes, BIN_GY)
        results[structure.structureName] = {
            "volume_cm3": volumes.sum(), "mean_gy": dvh.meanDose(bins, histogram),
            "min_gy": dvh.minDose(bins, histogram), "max_gy": dvh.maxDose(bins, histogram),
            "D95% (Gy)": dvh.Dx(bins, histogram, 95, 1), "D2% (Gy)": dvh.Dx(bins, histogram, 2, 1),
            "V5Gy (%)": 100 * dvh.Vx(bins, histogram, 5, 1),
        }
    return results


def dicompyler(folder, structures):
    # dicompyler-core 0.5.6 uses a name that pydicom 3 took away.
    pydicom.dicomio.read_file = pydicom.dcmread
    from dicompylercore import dvhcalc
    results = {}
    for roi in structures.StructureSetROISequence:
        found = dvhcalc.get_dvh(str(folder / "rtss.dcm"), str(folder / "rtdose.dcm"), roi.ROINumber)
        if found.volume > 0:
            results[roi.ROIName] = {
                "volume_cm3": found.volume, "mean_gy": found.mean, "min_gy": found.min, "max_gy": found.max,
                "D95% (Gy)": found.D95.value, "D2% (Gy)": found.D2.value,
                "V5Gy (%)": 100 * found.V5Gy.value / found.volume,
            }
    return results


def planning_system(folder, structures):
    """From the curves alone: the mean, least and highest dose beside them are in percent."""
    dose = pydicom.dcmread(folder / "rtdose.dcm")
    names = {roi.ROINumber: roi.ROIName for roi in structures.StructureSetROISequence}
    results = {}
    for item in dose.DVHSequence:
        name = names[item.DVHReferencedROISequence[0].ReferencedROINumber]
        volumes = np.asarray(item.DVHData[1::2], float)
        edges = np.concatenate([[0], np.cumsum(np.asarray(item.DVHData[0::2], float))])[:-1]
        at = lambda part: float(edges[volumes >= part * volumes[0]][-1])  # noqa: E731
        in_bins = -np.diff(np.append(volumes, 0))
        width = float(item.DVHData[0])
        results[name] = {
            "volume_cm3": volumes[0], "mean_gy": (in_bins * (edges + width / 2)).sum() / volumes[0],
            "min_gy": at(1), "max_gy": float(edges[volumes > 0][-1]), "D95% (Gy)": at(0.95), "D2% (Gy)": at(0.02),
            "V5Gy (%)": 100 * float(np.interp(5, edges, volumes, right=0)) / volumes[0],
        }
    return results


def main():
    folder = Path(sys.argv[1])
    structures = pydicom.dcmread(folder / "rtss.dcm")
    series = make_images(folder, structures)
    planes = contourd(folder)
    grid = contourd(folder, "--images", series)
    others = {"pyCERR": pycerr(folder, series), "dicompyler": dicompyler(folder, structures),
              "planning": planning_system(folder, structures)}
    columns = ["volume_cm3", "mean_gy", "min_gy", "max_gy", "D95% (Gy)", "D2% (Gy)", "V5Gy (%)"]
    print(f"{'':18} {'':14}" + "".join(f"{name:>12}" for name in columns))
    failed = False
    for name, found in grid.items():
        lines = {"contourd, planes": planes[name], "contourd, images": found}
        lines.update({other: values[name] for other, values in others.items() if name in values})
        for label, values in lines.items():
            cells = [values.get(column) for column in columns]
            print(f"{name:18.18} {label:17}" + "".join(f"{'-' if c is None else format(c, '.3f'):>12}" for c in cells))
        cerr = others["pyCERR"].get(name)
        if cerr is None:
            continue
        for column in ["mean_gy", "D95% (Gy)", "D2% (Gy)"]:
            if abs(found[column] - cerr[column]) > BIN_GY:
                print(f"  {column} is {found[column]}, pyCERR has {cerr[column]}")
                failed = True
        if abs(found["volume_cm3"] / cerr["volume_cm3"] - 1) > 0.01:
            print(f"  the volume is {found['volume_cm3']}, pyCERR has {cerr['volume_cm3']}")
            failed = True
    sys.exit(failed)


main()
