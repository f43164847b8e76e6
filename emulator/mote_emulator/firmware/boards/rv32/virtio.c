#include "virtio.h"

#include <string.h>

// QEMU's virt has eight places for a device; an empty one has kind 0.
#define PLACES 8
#define PLACE(n) (0x10001000 + 0x1000 * (uint32_t)(n))

// Registers: 4.2.2.
#define MAGIC 0x00
#define MAGIC_VALUE 0x74726976 // "virt"
#define VERSION 0x04
#define VERSION_VALUE 2 // 1 is the layout before the standard
#define KIND 0x08
#define DRIVER_FEATURES 0x20
#define DRIVER_FEATURES_SELECT 0x24
#define QUEUE_SELECT 0x30
#define QUEUE_SIZE 0x38
#define QUEUE_READY 0x44
#define QUEUE_NOTIFY 0x50
#define INTERRUPT_STATUS 0x60
#define INTERRUPT_ACK 0x64
#define STATUS 0x70
#define QUEUE_DESCRIPTORS 0x80
#define QUEUE_AVAILABLE 0x90
#define QUEUE_USED 0xa0

// STATUS: 2.1.
#define ACKNOWLEDGE 1
#define DRIVER 2
#define DRIVER_OK 4
#define FEATURES_OK 8

#define FEATURE_VERSION_1 1 // in the second 32
#define DEVICE_WRITES 2     // flag of a descriptor

static uint32_t find(uint32_t kind) {
    for (int n = 0; n < PLACES; n++) {
        uint32_t device = PLACE(n);
        if (REG32(device + MAGIC) == MAGIC_VALUE && REG32(device + VERSION) == VERSION_VALUE
            && REG32(device + KIND) == kind) {
            return device;
        }
    }
    return 0;
}

static void choose(uint32_t device, uint32_t half, uint32_t features) {
    REG32(device + DRIVER_FEATURES_SELECT) = half;
    REG32(device + DRIVER_FEATURES) = features;
}

uint32_t virtio_open(uint32_t kind, uint32_t features) {
    uint32_t device = find(kind);
    if (!device) {
        return 0;
    }
    REG32(device + STATUS) = 0; // reset
    REG32(device + STATUS) = ACKNOWLEDGE;
    REG32(device + STATUS) = ACKNOWLEDGE | DRIVER;
    choose(device, 0, features);
    choose(device, 1, FEATURE_VERSION_1);
    REG32(device + STATUS) = ACKNOWLEDGE | DRIVER | FEATURES_OK;
    return REG32(device + STATUS) & FEATURES_OK ? device : 0;
}

// The upper half of an address is a register of its own; here it is always 0.
static void point(uint32_t device, uint32_t reg, volatile void *part) {
    REG32(device + reg) = (uint32_t)(uintptr_t)part;
    REG32(device + reg + 4) = 0;
}

void virtq_open(virtq_t *queue, uint32_t device, uint32_t number) {
    memset(queue, 0, sizeof(*queue));
    queue->device = device;
    queue->number = number;
    queue->idle = (1u << VIRTQ_BUFFERS) - 1;
    REG32(device + QUEUE_SELECT) = number;
    REG32(device + QUEUE_SIZE) = VIRTQ_BUFFERS;
    point(device, QUEUE_DESCRIPTORS, queue->descriptors);
    point(device, QUEUE_AVAILABLE, &queue->available);
    point(device, QUEUE_USED, &queue->used);
    REG32(device + QUEUE_READY) = 1;
}

void virtio_start(uint32_t device) {
    REG32(device + STATUS) = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
}

uint32_t virtio_interrupts(uint32_t device) {
    uint32_t status = REG32(device + INTERRUPT_STATUS);
    REG32(device + INTERRUPT_ACK) = status;
    return status;
}

int virtq_idle(const virtq_t *queue) {
    return queue->idle ? __builtin_ctz(queue->idle) : -1;
}

void virtq_put(virtq_t *queue, int buffer, void *data, uint32_t length, bool device_writes) {
    volatile virtq_descriptor_t *descriptor = &queue->descriptors[buffer];
    descriptor->address = (uint32_t)(uintptr_t)data;
    descriptor->length = length;
    descriptor->flags = device_writes ? DEVICE_WRITES : 0;
    queue->idle &= ~(1u << buffer);
    uint16_t index = queue->available.index;
    queue->available.ring[index % VIRTQ_BUFFERS] = buffer;
    __sync_synchronize(); // the device reads what the index covers (2.6.13.2)
    queue->available.index = index + 1;
    __sync_synchronize();
}

void virtq_notify(const virtq_t *queue) {
    REG32(queue->device + QUEUE_NOTIFY) = queue->number;
}

int virtq_used(const virtq_t *queue, uint32_t *length) {
    if (queue->used.index == queue->taken) {
        return -1;
    }
    __sync_synchronize(); // nothing of the buffer is read before the index
    uint32_t slot = queue->taken % VIRTQ_BUFFERS;
    *length = queue->used.ring[slot].length;
    return queue->used.ring[slot].buffer % VIRTQ_BUFFERS;
}

void virtq_take(virtq_t *queue) {
    queue->idle |= 1u << queue->used.ring[queue->taken % VIRTQ_BUFFERS].buffer % VIRTQ_BUFFERS;
    queue->taken++;
}
