#include "harness.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "onnxruntime_c_api.h"

struct harness {
  const OrtApiBase *base;
  const OrtApi *api;
  OrtEnv *env;
  OrtSession *session;
  OrtMemoryInfo *memory;
  OrtValue **inputs;
  OrtValue *outputs[2];
  int64_t count, next;
  int64_t *labels;
  float *scores;
  const char *input_name;
  const char *output_names[2];
};

// failed copies the message of status, if there is one, and says whether there was.
static int failed(harness *h, OrtStatus *status, char *message, size_t room) {
  if (status == NULL) return 0;
  snprintf(message, room, "%s", h->api->GetErrorMessage(status));
  h->api->ReleaseStatus(status);
  return 1;
}

harness *harness_open(const char *library, const void *model, size_t size, char *message, size_t room) {
  void *so = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (so == NULL) {
    snprintf(message, room, "%s", dlerror());
    return NULL;
  }
  const OrtApiBase *(*get)(void) = (const OrtApiBase *(*)(void))dlsym(so, "OrtGetApiBase");
  harness *h = calloc(1, sizeof *h);
  h->base = get();
  h->api = h->base->GetApi(ORT_API_VERSION);
  if (h->api == NULL) {
    snprintf(message, room, "the library is older than the header");
    return NULL;
  }
  OrtSessionOptions *options;
  const OrtApi *api = h->api;
  if (failed(h, api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "bench", &h->env), message, room) ||
      failed(h, api->CreateSessionOptions(&options), message, room) ||
      failed(h, api->SetIntraOpNumThreads(options, 1), message, room) ||
      failed(h, api->SetInterOpNumThreads(options, 1), message, room) ||
      failed(h, api->SetSessionExecutionMode(options, ORT_SEQUENTIAL), message, room) ||
      failed(h, api->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL), message, room) ||
      failed(h, api->CreateSessionFromArray(h->env, model, size, options, &h->session), message, room) ||
      failed(h, api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &h->memory), message, room))
    return NULL;
  return h;
}

int harness_bind(harness *h, const char *input, const char *label, const char *scores, float *data, int64_t count,
                 int64_t rows, int64_t columns, int64_t classes, char *message, size_t room) {
  const OrtApi *api = h->api;
  h->input_name = input;
  h->output_names[0] = label;
  h->output_names[1] = scores;
  h->count = count;
  h->next = 0;
  h->inputs = calloc(count, sizeof *h->inputs);
  h->labels = calloc(rows, sizeof *h->labels);
  h->scores = calloc(rows * classes, sizeof *h->scores);
  int64_t in[2] = {rows, columns}, out[2] = {rows, classes};
  for (int64_t i = 0; i < count; i++)
    if (failed(h, api->CreateTensorWithDataAsOrtValue(h->memory, data + i * rows * columns,
                                                      rows * columns * sizeof *data, in, 2,
                                                      ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &h->inputs[i]),
               message, room))
      return -1;
  if (failed(h, api->CreateTensorWithDataAsOrtValue(h->memory, h->labels, rows * sizeof *h->labels, in, 1,
                                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &h->outputs[0]),
             message, room) ||
      failed(h, api->CreateTensorWithDataAsOrtValue(h->memory, h->scores, rows * classes * sizeof *h->scores, out, 2,
                                                    ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &h->outputs[1]),
             message, room))
    return -1;
  return 0;
}

int64_t harness_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int64_t harness_run(harness *h, int64_t times, char *message, size_t room) {
  int64_t start = harness_clock();
  for (int64_t i = 0; i < times; i++) {
    const OrtValue *input = h->inputs[h->next];
    if (++h->next == h->count) h->next = 0;
    OrtStatus *status = h->api->Run(h->session, NULL, &h->input_name, &input, 1, h->output_names, 2, h->outputs);
    if (failed(h, status, message, room)) return -1;
  }
  return harness_clock() - start;
}

const float *harness_scores(harness *h) { return h->scores; }

const char *harness_version(harness *h) { return h->base->GetVersionString(); }
