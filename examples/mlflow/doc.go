// Package mlflow proves that clients of MLflow work with Stoa unchanged. It has tests only, and speaks HTTP only.
//
//   - The scenarios run the stock Python client, the newest of version 3 and the last of version 2, against a fresh
//     server: what a data scientist does, from autolog to loading the version in service.
//
//   - The replay sends the requests of testdata/replay to the reference, mlflow server, and to Stoa, and compares status,
//     error code and every field of the answers. testdata/allowed.txt has what may differ, with its reason.
//
//   - The kills end the server with SIGKILL while batches and artifacts are logged, and look for what is lost or half there.
//
// The Python environments are made by the script setup, from the lock files beside it, in the user's cache:
//
//	make test-mlflow
package mlflow
