// All object classes, for the generated decoder.
#pragma once

#include "kernel/cap/seal.h"
#include "kernel/core/process.h"
#include "kernel/core/reservation.h"
#include "kernel/core/thread.h"
#include "kernel/group/group.h"
#include "kernel/ipc/port.h"
#include "kernel/mm/address_space.h"
#include "kernel/mm/memory_object.h"
#include "kernel/object/dma_domain.h"
#include "kernel/object/interrupt.h"
#include "kernel/object/notification.h"
#include "kernel/object/reply.h"
#include "kernel/object/singletons.h"
#include "kernel/object/timer.h"
#include "kernel/object/wait_set.h"
