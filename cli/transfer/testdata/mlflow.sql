-- What MLflow 3.17 keeps in SQLite, as far as a transfer reads it, with a little of everything.
CREATE TABLE experiments (experiment_id INTEGER PRIMARY KEY, name TEXT, lifecycle_stage TEXT);
CREATE TABLE experiment_tags (key TEXT, value TEXT, experiment_id INTEGER);
CREATE TABLE runs (run_uuid TEXT, name TEXT, user_id TEXT, status TEXT, start_time BIGINT, end_time BIGINT,
    lifecycle_stage TEXT, artifact_uri TEXT, experiment_id INTEGER);
CREATE TABLE metrics (key TEXT, value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN, run_uuid TEXT);
CREATE TABLE latest_metrics (key TEXT, value FLOAT, timestamp BIGINT, step BIGINT, is_nan BOOLEAN, run_uuid TEXT);
CREATE TABLE params (key TEXT, value TEXT, run_uuid TEXT);
CREATE TABLE tags (key TEXT, value TEXT, run_uuid TEXT);
CREATE TABLE datasets (dataset_uuid TEXT, name TEXT, digest TEXT, dataset_source_type TEXT, dataset_source TEXT,
    dataset_schema TEXT, dataset_profile TEXT);
CREATE TABLE inputs (input_uuid TEXT, source_type TEXT, source_id TEXT, destination_type TEXT, destination_id TEXT, step BIGINT);
CREATE TABLE input_tags (input_uuid TEXT, name TEXT, value TEXT);
CREATE TABLE logged_models (model_id TEXT, experiment_id INTEGER, name TEXT, artifact_location TEXT,
    creation_timestamp_ms BIGINT, status INTEGER, lifecycle_stage TEXT, model_type TEXT, source_run_id TEXT);
CREATE TABLE logged_model_tags (model_id TEXT, tag_key TEXT, tag_value TEXT);
CREATE TABLE logged_model_params (model_id TEXT, param_key TEXT, param_value TEXT);
CREATE TABLE logged_model_metrics (model_id TEXT, metric_name TEXT, metric_timestamp_ms BIGINT, metric_step BIGINT,
    metric_value FLOAT, run_id TEXT, dataset_name TEXT, dataset_digest TEXT);
CREATE TABLE registered_models (name TEXT, creation_time BIGINT, description TEXT);
CREATE TABLE registered_model_tags (key TEXT, value TEXT, name TEXT);
CREATE TABLE registered_model_aliases (alias TEXT, version INTEGER, name TEXT);
CREATE TABLE model_versions (name TEXT, version INTEGER, creation_time BIGINT, description TEXT, source TEXT, run_id TEXT,
    current_stage TEXT);
CREATE TABLE model_version_tags (key TEXT, value TEXT, name TEXT, version INTEGER);
CREATE TABLE trace_info (request_id TEXT);

INSERT INTO experiments VALUES (0, 'Default', 'active'), (1, 'churn', 'active'), (2, 'gone', 'deleted');
INSERT INTO experiment_tags VALUES ('purpose', 'test', 1);
INSERT INTO runs VALUES
    ('aaaa', 'parent', 'ann', 'FINISHED', 1700000000000, 1700000009000, 'active', 'mlflow-artifacts:/1/aaaa/artifacts', 1),
    ('bbbb', 'child', 'ann', 'FAILED', 1600000000000, 1600000009000, 'active', 'mlflow-artifacts:/1/bbbb/artifacts', 1),
    ('cccc', 'outside', 'bob', 'RUNNING', 1700000002000, NULL, 'active', 'file:///etc', 1),
    ('dddd', 'deleted', 'bob', 'FINISHED', 1700000002000, NULL, 'deleted', '', 1);
INSERT INTO metrics SELECT 'loss', 1.0 / (value + 1), 1700000000000 + value, value, 0, 'aaaa' FROM generate;
INSERT INTO metrics VALUES ('bad', 0, 1700000000000, 0, 1, 'aaaa');
INSERT INTO latest_metrics VALUES ('loss', 0.0004, 1700000002499, 2499, 0, 'aaaa'), ('bad', 0, 1700000000000, 0, 1, 'aaaa');
INSERT INTO params VALUES ('depth', '3', 'aaaa'), ('depth', '4', 'bbbb');
INSERT INTO tags VALUES ('mlflow.parentRunId', 'aaaa', 'bbbb'), ('team', 'red', 'aaaa');
INSERT INTO datasets VALUES ('ds', 'feed', 'd1', 'local', '/data/feed.csv', NULL, NULL);
INSERT INTO inputs VALUES ('in1', 'DATASET', 'ds', 'RUN', 'aaaa', 0), ('in2', 'RUN_OUTPUT', 'aaaa', 'MODEL_OUTPUT', 'm-1', 7);
INSERT INTO input_tags VALUES ('in1', 'mlflow.data.context', 'training');
INSERT INTO logged_models VALUES
    ('m-1', 1, 'model', 'mlflow-artifacts:/1/models/m-1/artifacts', 1700000003000, 2, 'active', 'tree', 'aaaa');
INSERT INTO logged_model_tags VALUES ('m-1', 'stage', 'draft');
INSERT INTO logged_model_params VALUES ('m-1', 'depth', '3');
INSERT INTO logged_model_metrics VALUES ('m-1', 'auc', 1700000004000, 0, 0.75, 'aaaa', NULL, NULL);
INSERT INTO registered_models VALUES ('churn-model', 1700000005000, 'who leaves'), ('elsewhere', 1700000006000, NULL);
INSERT INTO registered_model_tags VALUES ('owner', 'ann', 'churn-model');
INSERT INTO registered_model_aliases VALUES ('blue', 3, 'churn-model');
INSERT INTO model_versions VALUES
    ('churn-model', 1, 1700000005000, 'first', 'models:/m-1', 'aaaa', 'None'),
    ('churn-model', 3, 1700000005001, NULL, 'mlflow-artifacts:/1/aaaa/artifacts/model', 'aaaa', 'None'),
    ('elsewhere', 1, 1700000006000, NULL, 'file:///etc/passwd', NULL, 'None');
INSERT INTO model_version_tags VALUES ('k', 'v', 'churn-model', 1);
INSERT INTO trace_info VALUES ('tr-1');
