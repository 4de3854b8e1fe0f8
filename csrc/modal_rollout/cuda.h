// The rollout in modes on a GPU: the arguments of modal_rollout.h with addresses on the device.
#pragma once

#include "common/cuda.h"
#include "modal_rollout/modal_rollout.h"

namespace biomechau {
namespace cuda {

template <class T> void modal_rollout_fwd(const ModalRollout<T>&, Device);
template <class T> void modal_rollout_bwd(const ModalRollout<T>&, Device);

}  // namespace cuda
}  // namespace biomechau
