"""Rebuild the models against which the runtime is checked.

    python3.11 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python build.py

Every model is exported by the library that trained it, or put together by hand where no exporter reaches a corner of an
operator. Beside NAME.onnx stands NAME.json: a few rows, and what ONNX Runtime answers to them on one thread. Elements
of tensors are little-endian and in base64, strings are plain.
"""

import base64
import json
import pathlib
import warnings

import lightgbm
import numpy as np
import onnxruntime
import xgboost
from onnx import TensorProto, helper, numpy_helper
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MLFloat
from skl2onnx import convert_sklearn, to_onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.ensemble import (AdaBoostClassifier, BaggingClassifier, ExtraTreesClassifier, ExtraTreesRegressor,
                              GradientBoostingClassifier, GradientBoostingRegressor, HistGradientBoostingClassifier,
                              HistGradientBoostingRegressor, IsolationForest, RandomForestClassifier,
                              RandomForestRegressor, StackingClassifier)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (Binarizer, KBinsDiscretizer, MaxAbsScaler, MinMaxScaler, Normalizer, OneHotEncoder,
                                   OrdinalEncoder, PolynomialFeatures, RobustScaler, StandardScaler)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

HERE = pathlib.Path(__file__).parent
OPSET = {"": 15, "ai.onnx.ml": 3}
DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "int32": "INT32", "bool": "BOOL"}
rng = np.random.default_rng(20261123)
warnings.filterwarnings("ignore")


def tensor(name, array):
    array = np.asarray(array)
    out = {"name": name, "shape": list(array.shape)}
    if array.dtype.kind in "OUS":
        return out | {"datatype": "BYTES", "strings": [str(s) for s in array.ravel()]}
    raw = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return out | {"datatype": DATATYPES[array.dtype.name], "raw": base64.b64encode(raw).decode()}


def flat(answer):
    """Turn what ZipMap gives, a list of dictionaries, into a matrix."""
    if isinstance(answer, list) and answer and isinstance(answer[0], dict):
        return np.array([list(row.values()) for row in answer], dtype=np.float32)
    return np.asarray(answer)


def keep(name, model, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    if not isinstance(inputs, dict):
        inputs = {session.get_inputs()[0].name: inputs}
    answers = session.run(None, inputs)
    case = {"inputs": [tensor(k, v) for k, v in inputs.items()],
            "outputs": [tensor(o.name, flat(a)) for o, a in zip(session.get_outputs(), answers)]}
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())
    (HERE / f"{name}.json").write_text(json.dumps(case) + "\n")


def spoil(x, share=0.15):
    """Put missing values into x."""
    x = x.copy()
    x[rng.random(x.shape) < share] = np.nan
    return x


def sklearn_models():
    iris, cancer, wine, diabetes = load_iris(), load_breast_cancer(), load_wine(), load_diabetes()
    xi, yi = iris.data.astype(np.float32), iris.target
    xc, yc = cancer.data.astype(np.float32), cancer.target
    xw, yw = wine.data.astype(np.float32), wine.target
    xd, yd = diabetes.data.astype(np.float32), diabetes.target
    names = np.array(iris.target_names)[yi]
    with_nan = spoil(xd)
    plain = {"zipmap": False}

    def fit(name, model, x, y, options=None, rows=24, probe=None):
        model.fit(x, y) if y is not None else model.fit(x)
        exported = to_onnx(model, x[:1], options={id(model): options} if options else None, target_opset=OPSET)
        keep(name, exported, (x if probe is None else probe)[::max(1, len(x) // rows)][:rows])

    fit("skl_decision_tree_classifier", DecisionTreeClassifier(max_depth=5, random_state=0), xi, names)
    fit("skl_decision_tree_regressor", DecisionTreeRegressor(max_depth=6, random_state=0), xd, yd)
    fit("skl_random_forest_binary", RandomForestClassifier(15, max_depth=7, random_state=0), xc, yc)
    fit("skl_random_forest_multiclass", RandomForestClassifier(10, random_state=0), xw, yw, plain)
    fit("skl_random_forest_regressor", RandomForestRegressor(10, max_depth=7, random_state=0), xd, yd)
    fit("skl_random_forest_two_targets", RandomForestRegressor(5, max_depth=5, random_state=0), xd, np.c_[yd, -yd])
    fit("skl_extra_trees_classifier", ExtraTreesClassifier(8, max_depth=6, random_state=0), xw, yw)
    fit("skl_extra_trees_regressor", ExtraTreesRegressor(8, max_depth=6, random_state=0), xd, yd)
    fit("skl_gradient_boosting_binary", GradientBoostingClassifier(n_estimators=20, random_state=0), xc, yc)
    fit("skl_gradient_boosting_multiclass", GradientBoostingClassifier(n_estimators=10, random_state=0), xi, names)
    fit("skl_gradient_boosting_regressor", GradientBoostingRegressor(n_estimators=20, random_state=0), xd, yd)
    fit("skl_hist_gradient_boosting_binary", HistGradientBoostingClassifier(max_iter=15), spoil(xc), yc)
    fit("skl_hist_gradient_boosting_multiclass", HistGradientBoostingClassifier(max_iter=8), spoil(xw), yw)
    fit("skl_hist_gradient_boosting_regressor", HistGradientBoostingRegressor(max_iter=15), with_nan, yd)
    fit("skl_ada_boost_classifier", AdaBoostClassifier(n_estimators=5, random_state=0), xi, yi)
    fit("skl_bagging_classifier", BaggingClassifier(n_estimators=4, random_state=0), xi, yi, plain)
    fit("skl_isolation_forest", IsolationForest(n_estimators=5, max_samples=64, random_state=0), xi, None)
    fit("skl_stacking_classifier", StackingClassifier([("lr", LogisticRegression(max_iter=500)),
                                                       ("dt", DecisionTreeClassifier(max_depth=3))]), xi, yi, plain)
    fit("skl_multi_output_regressor", MultiOutputRegressor(DecisionTreeRegressor(max_depth=4)), xd, np.c_[yd, -yd])
    fit("skl_logistic_binary", LogisticRegression(max_iter=5000), xc, yc)
    fit("skl_logistic_multiclass", LogisticRegression(max_iter=500), xi, names)
    fit("skl_one_vs_rest", OneVsRestClassifier(LogisticRegression(max_iter=500)), xi, yi)
    fit("skl_sgd_classifier", SGDClassifier(loss="log_loss", random_state=0), xi, (yi > 0).astype(int))
    fit("skl_sgd_hinge_multiclass", SGDClassifier(random_state=0), xi, yi, {"zipmap": False, "raw_scores": True})
    fit("skl_linear_regression", LinearRegression(), xd, yd)
    fit("skl_ridge_two_targets", Ridge(), xd, np.c_[yd, yd ** 0.5])
    fit("skl_poisson_regressor", PoissonRegressor(), xd, yd / 50)
    fit("skl_gaussian_nb", GaussianNB(), xi, yi)
    fit("skl_calibrated_sigmoid", CalibratedClassifierCV(LogisticRegression(max_iter=500), cv=3), xi, yi)
    fit("skl_pipeline_scaler_logistic", make_pipeline(StandardScaler(), LogisticRegression()), xc, yc)
    fit("skl_pipeline_imputer_minmax_ridge", make_pipeline(SimpleImputer(), MinMaxScaler(), Ridge()), with_nan, yd)
    fit("skl_pipeline_normalizer_forest",
        make_pipeline(Normalizer(), RandomForestClassifier(5, max_depth=5, random_state=0)), xw, yw)
    fit("skl_pipeline_binarizer_maxabs", make_pipeline(Binarizer(), MaxAbsScaler(), LogisticRegression()), xd, yd > 150)
    fit("skl_pipeline_robust_pca", make_pipeline(RobustScaler(), PCA(4), LogisticRegression()), xw, yw, plain)
    fit("skl_pipeline_bins", make_pipeline(KBinsDiscretizer(3, encode="onehot-dense"), LogisticRegression()), xi, yi)
    fit("skl_pipeline_polynomial", make_pipeline(PolynomialFeatures(2), Ridge()), xi, yi.astype(float))
    columns(xd, yd)
    doubles = RandomForestClassifier(5, max_depth=5, random_state=0).fit(cancer.data, yc)
    keep("skl_double_forest", convert_sklearn(doubles, initial_types=[("X", DoubleTensorType([None, 30]))],
                                              target_opset=OPSET), cancer.data[::20])
    counts = rng.integers(0, 20, (300, 4))
    forest = RandomForestRegressor(5, max_depth=5, random_state=0).fit(counts, counts.sum(1) % 7)
    keep("skl_int64_forest", convert_sklearn(forest, initial_types=[("X", Int64TensorType([None, 4]))],
                                             target_opset=OPSET), counts[:24])


def columns(xd, yd):
    """A pipeline over columns of several types, as in a table."""
    import pandas
    n = len(xd)
    table = pandas.DataFrame({
        "age": spoil(xd[:, :1])[:, 0], "bmi": xd[:, 2],
        "city": rng.choice(["Wien", "Graz", "Linz", "Zürich"], n), "plan": rng.choice(["a", "b", "c"], n),
        "visits": rng.integers(0, 6, n)})
    kinds = [("age", FloatTensorType([None, 1])), ("bmi", FloatTensorType([None, 1])),
             ("city", StringTensorType([None, 1])), ("plan", StringTensorType([None, 1])),
             ("visits", Int64TensorType([None, 1]))]
    encode = ColumnTransformer([
        ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["age", "bmi"]),
        ("city", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        ("visits", OneHotEncoder(handle_unknown="ignore"), ["visits"])])
    label = np.where(yd > 150, "high", "low")
    texts = ("city", "plan")
    feed = {k: table[k].to_numpy(dtype=object if k in texts else table[k].dtype)[:24, None] for k, _ in kinds}
    feed = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in feed.items()}
    feed["city"][3, 0] = "nowhere"
    for name, model in [("logistic", LogisticRegression()), ("boosting", GradientBoostingClassifier(n_estimators=10))]:
        pipe = make_pipeline(encode, model).fit(table, label)
        keep(f"skl_columns_{name}", convert_sklearn(pipe, initial_types=kinds, target_opset=OPSET), feed)
    ordinal = ColumnTransformer([("ordinal", OrdinalEncoder(), ["city", "plan"]), ("rest", "passthrough", ["bmi"])])
    pipe = make_pipeline(ordinal, RandomForestClassifier(5, max_depth=4, random_state=0)).fit(table, label)
    feed = {k: feed[k] for k in ("city", "plan", "bmi")}
    feed["city"][3, 0] = "Wien"
    keep("skl_columns_ordinal", convert_sklearn(pipe, initial_types=[k for k in kinds if k[0] in feed],
                                                target_opset=OPSET), feed)


def boosted_models():
    x = spoil(rng.normal(size=(600, 8)).astype(np.float32), 0.1)
    clean = np.nan_to_num(x)
    noise = rng.normal(size=600)
    y = clean[:, 0] * 2 + clean[:, 1] ** 2 + 0.3 * noise
    binary, three = (y > 1).astype(int), np.digitize(y, [0, 2])
    probe = x[:24].copy()
    probe[0, 0], probe[1, 0], probe[2, 1] = np.inf, -np.inf, 0.0
    kinds = [("X", MLFloat([None, 8]))]
    light = dict(n_estimators=15, num_leaves=15, verbose=-1, random_state=0, deterministic=True, n_jobs=1)

    def lgb(name, model, target, data=x, rows=probe, **extra):
        model.fit(data, target, **extra)
        keep(f"lgb_{name}", convert_lightgbm(model, initial_types=kinds, target_opset=15), rows)

    lgb("binary", lightgbm.LGBMClassifier(**light), binary)
    lgb("multiclass", lightgbm.LGBMClassifier(**light), three)
    lgb("regressor", lightgbm.LGBMRegressor(**light), y)
    lgb("poisson", lightgbm.LGBMRegressor(objective="poisson", **light), np.exp(y / 4))
    lgb("random_forest", lightgbm.LGBMRegressor(boosting_type="rf", bagging_fraction=0.5, bagging_freq=1, **light), y)
    lgb("zero_as_missing", lightgbm.LGBMRegressor(zero_as_missing=True, **light), y)
    lgb("deep", lightgbm.LGBMRegressor(**light | {"num_leaves": 63, "min_child_samples": 3}), y)
    coded = clean.copy()
    coded[:, 3] = rng.integers(0, 9, 600)
    shifted = y + 3 * (coded[:, 3] % 3)
    lgb("categorical", lightgbm.LGBMRegressor(**light), shifted, data=coded, rows=coded[:24], categorical_feature=[3])

    extreme = dict(n_estimators=15, max_depth=4, random_state=0, n_jobs=1)

    def xgb(name, model, target):
        model.fit(x, target)
        keep(f"xgb_{name}", convert_xgboost(model, initial_types=kinds, target_opset=15), probe)

    xgb("binary", xgboost.XGBClassifier(**extreme), binary)
    xgb("binary_base_score", xgboost.XGBClassifier(base_score=0.3, **extreme), binary)
    xgb("multiclass", xgboost.XGBClassifier(**extreme), three)
    xgb("regressor", xgboost.XGBRegressor(**extreme), y)
    xgb("regressor_base_score", xgboost.XGBRegressor(base_score=5.5, **extreme), y)
    xgb("poisson", xgboost.XGBRegressor(objective="count:poisson", **extreme), np.exp(y / 4))
    xgb("random_forest", xgboost.XGBRFClassifier(**extreme), binary)


def benchmark_model():
    """The model of the benchmarks: 100 trees of depth 6 over 30 features, nearly full."""
    x = rng.normal(size=(20000, 30)).astype(np.float32)
    y = (np.sin(x).sum(1) + x[:, 0] * x[:, 1] + rng.normal(size=20000) > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=100, max_depth=6, random_state=0, n_jobs=1).fit(x, y)
    exported = convert_xgboost(model, initial_types=[("X", MLFloat([None, 30]))], target_opset=15)
    keep("bench_100x6", exported, rng.normal(size=(50, 30)).astype(np.float32))


def graph(name, nodes, inputs, outputs, feed, initializers=(), opset=15, ml=3):
    g = helper.make_graph(nodes, name, [helper.make_tensor_value_info(*i) for i in inputs],
                          [helper.make_tensor_value_info(*o) for o in outputs], list(initializers))
    model = helper.make_model(g, ir_version=8, opset_imports=[
        helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)])
    keep(f"hand_{name}", model, feed)


def stump(modes, values, missing):
    """Trees of one test each: 1 where it holds, 2 where not, times the number of the tree."""
    n = len(modes)
    each = lambda *three: [v for _ in range(n) for v in three]
    return dict(
        nodes_treeids=[t for t in range(n) for _ in range(3)], nodes_nodeids=each(0, 1, 2),
        nodes_featureids=[0 if k else t % 2 for t in range(n) for k in range(3)],
        nodes_modes=[m for mode in modes for m in (mode, "LEAF", "LEAF")],
        nodes_values=[float(v) for value in values for v in (value, 0, 0)], nodes_truenodeids=each(1, 0, 0),
        nodes_falsenodeids=each(2, 0, 0),
        nodes_missing_value_tracks_true=[int(m) for miss in missing for m in (miss, 0, 0)])


def hand_models():
    x = np.array([[-1, 0], [0, 1], [1, -1], [0.5, 2], [-0.0, 0.0], [np.nan, 1], [2, np.nan], [np.nan, np.nan],
                  [np.inf, -np.inf], [-np.inf, np.inf], [1e-40, -1e-40]], dtype=np.float32)
    ins, n = [("X", TensorProto.FLOAT, [None, 2])], "ai.onnx.ml"
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    for mode in modes:  # alone, since ONNX Runtime takes another path when modes are mixed
        tree = stump([mode] * 4, [0, 0, 1, 1], [0, 0, 1, 1])
        node = helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain=n, n_targets=4, target_ids=[
            t for t in range(4) for _ in range(2)], target_nodeids=[1, 2] * 4, target_treeids=[
                t for t in range(4) for _ in range(2)], target_weights=[1.0, 2.0] * 4, **tree)
        graph(f"mode_{mode.lower()}", [node], ins, [("Y", TensorProto.FLOAT, [None, 4])], x)
    tree = stump(modes * 2, [0] * 6 + [1] * 6, [0] * 6 + [1] * 6)
    weights = dict(target_ids=[t for t in range(12) for _ in range(2)], target_nodeids=[1, 2] * 12, target_treeids=[
        t for t in range(12) for _ in range(2)], target_weights=[1.0, 2.0] * 12)
    node = helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain=n, n_targets=12, **weights, **tree)
    graph("modes_mixed", [node], ins, [("Y", TensorProto.FLOAT, [None, 12])], x)
    single = weights | dict(target_ids=[0] * 24, target_weights=[0.01 * (k * k % 17) for k in range(24)])
    for function in ("SUM", "AVERAGE", "MIN", "MAX"):
        for targets, w in ((1, single), (3, single | dict(target_ids=[k % 3 for k in range(24)]))):
            node = helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain=n, n_targets=targets,
                                    aggregate_function=function, base_values=[0.25] * targets, **w, **tree)
            graph(f"aggregate_{function.lower()}_{targets}", [node], ins,
                  [("Y", TensorProto.FLOAT, [None, targets])], x)
    classifiers(x, ins, tree, n)
    linear(x[:5], ins, n)
    encoders(n)


def classifiers(x, ins, tree, n):
    outs = lambda k: [("L", TensorProto.INT64, [None]), ("P", TensorProto.FLOAT, [None, k])]
    places = dict(class_nodeids=[1, 2] * 12, class_treeids=[t for t in range(12) for _ in range(2)])
    signed = [0.3 * ((k * 7) % 5 - 2) for k in range(24)]
    positive = [abs(w) / 9 for w in signed]
    for transform in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"):
        cases = {"one_class_signed": ([0] * 24, signed, 2, []), "one_class_positive": ([0] * 24, positive, 2, []),
                 "one_class_base": ([0] * 24, signed, 2, [0.2]), "second_class": ([1] * 24, signed, 2, []),
                 "two_classes": ([k % 2 for k in range(24)], signed, 2, []),
                 "two_classes_base": ([k % 2 for k in range(24)], signed, 2, [0.1, 0.4]),
                 "three_classes": ([k % 3 for k in range(24)], positive, 3, [0.1, -0.2, 0.3])}
        for case, (ids, weights, count, base) in cases.items():
            if transform == "PROBIT" and case != "three_classes":
                continue  # a single score leaves the second column of ONNX Runtime's answer undefined
            extra = dict(base_values=base) if base else {}
            node = helper.make_node("TreeEnsembleClassifier", ["X"], ["L", "P"], domain=n, class_ids=ids,
                                    class_weights=weights, classlabels_int64s=[10 * k for k in range(count)],
                                    post_transform=transform, **extra, **places, **tree)
            graph(f"classifier_{transform.lower()}_{case}", [node], ins, outs(count), x)


def linear(x, ins, n):
    for transform in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"):
        node = helper.make_node("LinearClassifier", ["X"], ["L", "P"], domain=n, coefficients=[0.5, -1.5],
                                intercepts=[0.25], classlabels_strings=["no", "yes"], post_transform=transform)
        graph(f"linear_one_score_{transform.lower()}", [node], ins,
              [("L", TensorProto.STRING, [None]), ("P", TensorProto.FLOAT, [None, 2])], x)
        node = helper.make_node("LinearRegressor", ["X"], ["Y"], domain=n, coefficients=[0.5, -1.5, 1, 2, 3, 4],
                                intercepts=[0.25, 1, -1], targets=3, post_transform=transform)
        graph(f"linear_regressor_{transform.lower()}", [node], ins, [("Y", TensorProto.FLOAT, [None, 3])], x)


def encoders(n):
    words = np.array([["red"], ["green"], ["other"]], dtype=object)
    node = helper.make_node("LabelEncoder", ["X"], ["Y"], domain=n, keys_strings=["red", "green"],
                            values_floats=[1.5, 2.5], default_float=-1.0)
    graph("label_string_float", [node], [("X", TensorProto.STRING, [None, 1])],
          [("Y", TensorProto.FLOAT, [None, 1])], words)
    node = helper.make_node("LabelEncoder", ["X"], ["Y"], domain=n, keys_floats=[1.0, float("nan")],
                            values_strings=["one", "missing"])
    graph("label_float_string", [node], [("X", TensorProto.FLOAT, [None, 1])],
          [("Y", TensorProto.STRING, [None, 1])], np.array([[1], [np.nan], [3]], dtype=np.float32))
    node = helper.make_node("LabelEncoder", ["X"], ["Y"], domain=n,
                            keys_tensor=numpy_helper.from_array(np.array([3, 5], dtype=np.int64)),
                            values_tensor=numpy_helper.from_array(np.array([0.5, 0.25], dtype=np.float32)),
                            default_tensor=numpy_helper.from_array(np.array([9], dtype=np.float32)))
    graph("label_tensors", [node], [("X", TensorProto.INT64, [None])], [("Y", TensorProto.FLOAT, [None])],
          np.array([3, 4, 5], dtype=np.int64), ml=4)
    node = helper.make_node("FeatureVectorizer", ["A", "B"], ["Y"], domain=n, inputdimensions=[2, 1])
    graph("feature_vectorizer", [node], [("A", TensorProto.FLOAT, [None, 2]), ("B", TensorProto.FLOAT, [None, 1])],
          [("Y", TensorProto.FLOAT, [None, 3])],
          {"A": np.arange(6, dtype=np.float32).reshape(3, 2), "B": np.ones((3, 1), dtype=np.float32)})
    shape_operators()


def shape_operators():
    x = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
    const = lambda name, *v: numpy_helper.from_array(np.array(v, dtype=np.int64), name)
    nodes = [
        helper.make_node("Transpose", ["W"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["X", "t"], ["m"]),
        helper.make_node("Softmax", ["m"], ["s"], axis=-1), helper.make_node("Unsqueeze", ["s", "one"], ["u"]),
        helper.make_node("Squeeze", ["u", "one"], ["q"]), helper.make_node("ReduceSum", ["q", "one"], ["rs"]),
        helper.make_node("ReduceMax", ["X"], ["rm"], axes=[1], keepdims=1),
        helper.make_node("Slice", ["X", "starts", "ends", "one", "steps"], ["sl"]),
        helper.make_node("Gather", ["X", "index"], ["ga"], axis=1), helper.make_node("Tile", ["rm", "tiles"], ["ti"]),
        helper.make_node("Concat", ["sl", "ga", "ti", "rs"], ["c"], axis=1),
        helper.make_node("Split", ["X", "parts"], ["a", "b"], axis=1), helper.make_node("Greater", ["a", "rm"], ["gt"]),
        helper.make_node("Less", ["X", "rm"], ["lt"]), helper.make_node("Not", ["lt"], ["ge"]),
        helper.make_node("Where", ["ge", "X", "rm"], ["w"]), helper.make_node("Neg", ["w"], ["ng"]),
        helper.make_node("Abs", ["X"], ["ab"]), helper.make_node("Sqrt", ["ab"], ["sq"]),
        helper.make_node("Clip", ["sq", "low", "high"], ["cl"]), helper.make_node("Expand", ["rm", "wide"], ["ex"]),
        helper.make_node("Gemm", ["X", "W"], ["ge2"], transB=1, alpha=0.5),
        helper.make_node("Flatten", ["u"], ["fl"]), helper.make_node("ArgMax", ["X"], ["am"], axis=1, keepdims=1),
        helper.make_node("Cast", ["am"], ["amf"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["am"], ["ams"], to=TensorProto.STRING),
        helper.make_node("Concat", ["c", "ng", "cl", "ex", "ge2", "fl", "amf"], ["Y"], axis=1),
        helper.make_node("Identity", ["ams"], ["Z"])]
    inits = [const("one", 1), const("starts", -1), const("ends", -10), const("steps", -2), const("index", 3, 0, -2),
             const("tiles", 1, 2), const("parts", 1, 3), const("wide", 1, 5),
             numpy_helper.from_array(np.sin(np.arange(20, dtype=np.float32)).reshape(5, 4), "W"),
             numpy_helper.from_array(np.array(0.5, dtype=np.float32), "low"),
             numpy_helper.from_array(np.array(2, dtype=np.float32), "high")]
    graph("shape_operators", nodes, [("X", TensorProto.FLOAT, [None, 4])],
          [("Y", TensorProto.FLOAT, [None, None]), ("Z", TensorProto.STRING, [None, 1])], x, inits)


if __name__ == "__main__":
    for old in [*HERE.glob("*.onnx"), *HERE.glob("*.json")]:
        old.unlink()
    sklearn_models()
    boosted_models()
    benchmark_model()
    hand_models()
    files = sorted(HERE.glob("*.onnx"))
    print(f"{len(files)} models, {sum(f.stat().st_size for f in HERE.iterdir()) / 1e6:.1f} MB")
