// True random bytes from a file of the host: /dev/urandom, or the one that QEMU's argument
// `entropy` names, for a run that can be repeated. A reset goes on where it was; at the file's end
// there is no more.
#include "common/board.h"
#include "cortex_m3.h"

size_t board_entropy(uint8_t *buf, size_t n) {
    char path[PATH_BYTES];
    if (!carried.entropy) {
        bool named = host_argument(" entropy=", path, sizeof(path));
        carried.entropy = host_open(named ? path : "/dev/urandom", false);
    }
    return carried.entropy && host_read(carried.entropy, buf, n) == 0 ? n : 0;
}
