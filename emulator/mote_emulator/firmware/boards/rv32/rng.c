// Random bytes from QEMU's virtio-rng. VIRTIO 1.1, 5.4.
#include <string.h>

#include "virtio.h"

#define PATIENCE_US 1000000 // QEMU answers within a millisecond, unless its source is dry
#define BATCH 64

static virtq_t requests;
static uint8_t batch[BATCH];
static uint32_t device;
static bool silent; // it owns the batch and may write to it at any time: never ask it again

static bool device_open(void) {
    if (!device && (device = virtio_open(VIRTIO_ENTROPY, 0))) {
        virtq_open(&requests, device, 0);
        virtio_start(device);
    }
    return device && !silent;
}

// Have the batch filled with up to `n` bytes; returns with how many.
static size_t draw(size_t n) {
    uint32_t length;
    virtq_put(&requests, virtq_idle(&requests), batch, n, true);
    virtq_notify(&requests);
    for (uint64_t end = board_now_us() + PATIENCE_US; virtq_used(&requests, &length) < 0;) {
        if (board_now_us() > end) {
            silent = true;
            return 0;
        }
        board_idle(1); // its interrupt ends that
    }
    virtq_take(&requests);
    virtio_interrupts(device);
    return length < n ? length : n;
}

size_t board_entropy(uint8_t *buf, size_t n) {
    size_t got = 0;
    while (got < n && device_open()) {
        size_t fresh = draw(n - got < BATCH ? n - got : BATCH);
        memcpy(buf + got, batch, fresh);
        memset(batch, 0, fresh); // they may become a key
        got += fresh;
    }
    return got;
}
