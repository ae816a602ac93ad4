#!/usr/bin/env python3
"""Radiomics and dose-volume histograms by pyCERR on a planC.h5 that `contourd segment --write planc` left.

    figures.py RESULTS      the folder of one case, with the NIfTI masks beside planC.h5

pyCERR gets the file as it is. Its radiomics must count the voxels of our mask and find the mean of the scan in them; its
histogram of a dose that grows with z must have our volume and the mean of the dose at our voxels. Ends with 1 otherwise.
"""

import json
import pathlib
import sys
import tempfile

import numpy as np
import SimpleITK as sitk
from cerr import datasets, dvh
from cerr import plan_container as pc
from cerr.radiomics import ibsi1

SETTINGS = pathlib.Path(datasets.__file__).parent / "radiomics_settings" / "original_settings.json"


def settings():
    """pyCERR's own, on the voxels as they are: nothing resampled, every value taken."""
    found = json.loads(SETTINGS.read_text())
    found["settings"].pop("resample")
    found["settings"]["firstOrder"]["offsetForEnergy"] = 0
    for key in ("minSegThreshold", "maxSegThreshold", "minClipIntensity", "maxClipIntensity"):
        found["settings"]["texture"].pop(key)
    found["featureClass"] = {"firstOrder": {"featureList": ["all"]}}
    return found


def ramp(image):
    """A dose of as many Gy as the voxel's z has dm, above the lowest."""
    size = image.GetSize()
    z = [image.TransformIndexToPhysicalPoint((0, 0, k))[2] for k in range(size[2])]
    values = (np.array(z) - min(z))[:, None, None] / 100 + np.zeros((size[2], size[1], size[0]))
    dose = sitk.GetImageFromArray(values)
    dose.CopyInformation(image)
    return dose, values


def main(results):
    results = pathlib.Path(results)
    plan = pc.loadFromH5(str(results / "planC.h5"))
    scan = np.transpose(plan.scan[0].getScanArray(), (2, 0, 1))[::-1]
    failed, judged = False, 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "settings.json").write_text(json.dumps(settings()))
        image = sitk.ReadImage(str(results / f"{plan.structure[0].structureName}.nii.gz"))
        dose, gray = ramp(image)
        sitk.WriteImage(dose, str(folder / "dose.nii.gz"))
        plan = pc.loadNiiDose(str(folder / "dose.nii.gz"), 0, plan)
        print(f"{'structure':16} {'voxels':>9} {'cm3':>10} {'DVH cm3':>10} {'mean Gy':>9} {'DVH Gy':>9} {'mean HU':>9} {'radiomics':>9}")
        for number, structure in enumerate(plan.structure):
            mask = sitk.GetArrayFromImage(sitk.ReadImage(str(results / f"{structure.structureName}.nii.gz"))) > 0
            if not mask.any():
                continue
            cm3 = mask.sum() * np.prod(image.GetSpacing()) / 1000
            doses, volumes, error = dvh.getDVH(number, 0, plan)
            mean = np.average(doses, weights=volumes)
            features, _ = ibsi1.computeScalarFeatures(0, number, str(folder / "settings.json"), plan)
            found = next(value for key, value in features.items() if key.lower().endswith("firstorder_mean"))
            print(f"{structure.structureName:16} {mask.sum():9} {cm3:10.3f} {volumes.sum():10.3f} {gray[mask].mean():9.4f} "
                  f"{mean:9.4f} {scan[mask].mean():9.3f} {found:9.3f}")
            good = (not error and abs(volumes.sum() / cm3 - 1) < 0.005 and abs(mean - gray[mask].mean()) < 0.01
                    and abs(found - scan[mask].mean()) < 0.5)
            failed |= not good
            judged += 1
    print("a figure differs" if failed else f"pyCERR's figures of {judged} structures are those of our voxels")
    return 1 if failed or not judged else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
