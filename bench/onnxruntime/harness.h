// A loop around ONNX Runtime's C API with everything bound beforehand, so that nothing but OrtRun is timed.
#include <stddef.h>
#include <stdint.h>

typedef struct harness harness;

// harness_open loads the library and the model for one thread; on failure it returns NULL and sets message.
harness *harness_open(const char *library, const void *model, size_t size, char *message, size_t room);

// harness_bind makes count inputs of rows x columns out of data, and outputs for rows and classes. It returns 0 or
// sets message.
int harness_bind(harness *h, const char *input, const char *label, const char *scores, float *data, int64_t count,
                 int64_t rows, int64_t columns, int64_t classes, char *message, size_t room);

// harness_clock returns the nanoseconds of processor time that the process has used, on all threads.
int64_t harness_clock(void);

// harness_run runs the model times times over the inputs in turn and returns nanoseconds of processor time, or -1 and
// sets message.
int64_t harness_run(harness *h, int64_t times, char *message, size_t room);

// harness_scores returns the scores of the last run.
const float *harness_scores(harness *h);

const char *harness_version(harness *h);
