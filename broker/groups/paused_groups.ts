import { decodeGroupPaused } from './ops.js'

/** The state of the view; changes become durable with the next checkpoint. */
export interface PausedState {
  put(key: Uint8Array, value: Uint8Array): void
  del(key: Uint8Array): void
}

const nothing = new Uint8Array(0)

/** The stream groups that are paused: the fold over `group.paused` and `group.deleted`. A key is PREFIX and the group's name. */
export class PausedGroups {
  readonly #state: PausedState
  readonly #prefix: number
  readonly #paused = new Set<string>()

  constructor(state: PausedState, prefix: number) {
    this.#state = state
    this.#prefix = prefix
  }

  get count(): number {
    return this.#paused.size
  }

  has(group: string): boolean {
    return this.#paused.has(group)
  }

  /** Takes over a stored key. */
  load(key: Uint8Array): void {
    this.#paused.add(Buffer.from(key).toString('latin1', 1))
  }

  apply(payload: Uint8Array): void {
    const [group, paused] = decodeGroupPaused(payload)
    if (paused) {
      this.#paused.add(group)
      this.#state.put(this.#key(group), nothing)
    } else this.forget(group)
  }

  forget(group: string): void {
    if (this.#paused.delete(group)) this.#state.del(this.#key(group))
  }

  #key(group: string): Uint8Array {
    return Buffer.concat([Uint8Array.of(this.#prefix), Buffer.from(group, 'latin1')])
  }
}
