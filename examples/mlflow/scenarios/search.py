"""Search with every operator, ordering and paging."""

from mlflow import MlflowClient

from client import refused

client = MlflowClient()
experiment = client.create_experiment("search with every operator")
runs = []
for i in range(6):
    run = client.create_run(experiment, start_time=1000 + i, run_name=f"run-{i}").info.run_id
    client.log_metric(run, "acc", i / 10)
    client.log_param(run, "depth", str(i))
    client.set_tag(run, "team", "Red" if i % 2 else "blue")
    runs.append(run)
client.set_terminated(runs[0], "FAILED", end_time=2000)


def found(text, **more):
    more.setdefault("order_by", ["attributes.start_time ASC"])
    return [runs.index(r.info.run_id) for r in client.search_runs([experiment], text, **more)]


for text, want in {
    "metrics.acc = 0.1": [1],
    "metrics.acc != 0.1": [0, 2, 3, 4, 5],
    "metrics.acc > 0.3": [4, 5],
    "metrics.acc >= 0.3": [3, 4, 5],
    "metrics.acc < 0.1": [0],
    "metrics.acc <= 0.1": [0, 1],
    "params.depth = '3'": [3],
    "params.depth != '3'": [0, 1, 2, 4, 5],
    "params.depth LIKE '_'": [0, 1, 2, 3, 4, 5],
    "tags.team = 'Red'": [1, 3, 5],
    "tags.team LIKE 'red'": [],
    "tags.team ILIKE 'r%'": [1, 3, 5],
    "tags.`team` != 'Red'": [0, 2, 4],
    "attributes.status = 'FAILED'": [0],
    "run_name LIKE 'run-%' AND start_time > 1003": [4, 5],
    f"run_id IN ('{runs[1]}', '{runs[4]}')": [1, 4],
    f"run_id NOT IN ('{runs[1]}', '{runs[4]}')": [0, 2, 3, 5],
    "metrics.acc > 0.1 AND params.depth != '4' AND tags.team = 'Red'": [3, 5],
    "metrics.never > 0": [],
    "": [0, 1, 2, 3, 4, 5],
}.items():
    assert found(text) == want, (text, found(text))

assert found("", order_by=["metrics.acc DESC"]) == [5, 4, 3, 2, 1, 0]
assert found("", order_by=["tags.team ASC", "params.depth DESC"]) == [5, 3, 1, 4, 2, 0]
assert found("", order_by=None) == [5, 4, 3, 2, 1, 0]

pages, token = [], None
while True:
    page = client.search_runs([experiment], max_results=4, order_by=["start_time ASC"], page_token=token)
    pages += [runs.index(r.info.run_id) for r in page]
    token = page.token
    if not token:
        break
assert pages == [0, 1, 2, 3, 4, 5], pages

for wrong in ["metrics.acc >", "nonsense.a = 'b'", "params.depth = 3", "metrics.acc = 'x' OR 1 = 1"]:
    with refused("INVALID_PARAMETER_VALUE"):
        client.search_runs([experiment], wrong)

client.set_experiment_tag(experiment, "kind", "search")
names = [e.name for e in client.search_experiments(filter_string="tags.kind = 'search'")]
assert names == ["search with every operator"], names
