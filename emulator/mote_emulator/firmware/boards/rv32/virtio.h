// Devices of the virtio family over MMIO, and the queues by which they get and return buffers.
// Virtual I/O Device (VIRTIO) Version 1.1: 2.6 (split virtqueues), 3.1 (start), 4.2 (MMIO).
#pragma once
#include "common/board.h"

#define VIRTIO_NETWORK 1
#define VIRTIO_ENTROPY 4
#define VIRTIO_CONFIG 0x100 // where the registers of a kind of device begin

// What virtio_interrupts() tells.
#define VIRTIO_USED_BUFFER 1
#define VIRTIO_CONFIG_CHANGE 2

// Buffers of a queue; a power of two (2.6). Descriptor n is for the driver's buffer n.
#define VIRTQ_BUFFERS 16

typedef struct {
    uint64_t address;
    uint32_t length;
    uint16_t flags, next;
} virtq_descriptor_t;

typedef struct {
    volatile virtq_descriptor_t descriptors[VIRTQ_BUFFERS] __attribute__((aligned(16)));
    volatile struct {
        uint16_t flags, index, ring[VIRTQ_BUFFERS], event;
    } available; // the driver's: buffers for the device
    volatile struct {
        uint16_t flags, index;
        struct {
            uint32_t buffer, length;
        } ring[VIRTQ_BUFFERS];
        uint16_t event;
    } used __attribute__((aligned(4))); // the device's: buffers it is done with
    uint32_t device, number;
    uint32_t idle;  // a bit for each buffer that is neither with the device nor used
    uint16_t taken; // used buffers that were taken back, modulo 2^16
} virtq_t;

// Find a device of that kind, reset it and agree on what both can do. `features` are those wanted
// of the first 32. Returns its address, or 0 if there is none.
uint32_t virtio_open(uint32_t kind, uint32_t features);
// Give an opened device its queue of that number.
void virtq_open(virtq_t *queue, uint32_t device, uint32_t number);
// Let an opened device work, once it has its queues.
void virtio_start(uint32_t device);
// Why the device has interrupted since the last call; it lets go of the line.
uint32_t virtio_interrupts(uint32_t device);

// The number of an idle buffer, or -1.
int virtq_idle(const virtq_t *queue);
// Hand an idle buffer to the device, for it to write to or to read.
void virtq_put(virtq_t *queue, int buffer, void *data, uint32_t length, bool device_writes);
// Tell the device that there are new buffers.
void virtq_notify(const virtq_t *queue);
// The number of the buffer that the device was done with first, or -1, and how much it wrote.
int virtq_used(const virtq_t *queue, uint32_t *length);
// Take that buffer back: it is idle then.
void virtq_take(virtq_t *queue);
