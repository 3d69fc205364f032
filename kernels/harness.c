/* SPDX-License-Identifier: MIT-0
 *
 * The driver of the primitives: checks one call, times calls, or measures the processor.
 *
 * A request is one line on standard input: a command, for check and time a primitive, then key=value words (the
 * fields of struct ts_shape, and the options below). An answer is one line of JSON on standard output.
 *
 *   check NAME shape... attrs... x_elems=N[,N] weights_elems=N bias_elems=N y_elems=N workspace_bytes=N
 * in_place=PORT|-1 followed by the raw floats of every input, the weights and the bias; the answer is followed by y.
 *         The call runs twice, with different poison in y and workspace, between guard bytes.
 *   time  NAME shape... attrs... (sizes as above) samples=N evict_bytes=N dram_weights=0|1 max_ns=N
 *   A call shared among threads has for each part, after all other words, the word `part` and where the part differs:
 *         fields of its shape, x0_at=N x1_at=N weights_at=N bias_at=N y_at=N workspace_at=N scratch_elems=N (floats),
 *         and what its thread has in its caches: x0_span=AT,RUN,STEP,COUNT x1_span=... y_span=...
 *   host  FMA rate of one core and read bandwidth by buffer size
 */
#define _GNU_SOURCE
#include "harness_check.h"
#include "harness_time.h"

int main(void)
{
    static char line[MAX_LINE];
    static struct request request;
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strchr(line, '\n') == NULL)
            fail("request too long", "line");
        char *words = line;
        const char *command = strtok_r(words, " \n", &words);
        if (command == NULL)
            continue;
        if (strcmp(command, "host") == 0) {
            measure_host();
        } else if (strcmp(command, "check") == 0) {
            parse_request(&request, words);
            check(&request);
        } else if (strcmp(command, "time") == 0) {
            parse_request(&request, words);
            time_calls(&request);
        } else {
            fail("unknown command", command);
        }
        fflush(stdout);
    }
    return 0;
}
