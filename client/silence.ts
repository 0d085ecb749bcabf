/**
 * Detects that a peer with pending replies has been silent for too long. A hung machine or a lost route does not end a
 * connection: the system first retransmits for a quarter of an hour. The class reads no clock itself.
 */
export class Silence {
  readonly #patienceMsMin: number
  #patienceMs: number
  #sinceMs = 0

  /** @param patienceMsMin silence in ms that is always allowed */
  constructor(patienceMsMin: number) {
    this.#patienceMsMin = patienceMsMin
    this.#patienceMs = patienceMsMin
  }

  /** Records a request with the time limit `timeoutMs`; `owed` replies were pending before it. */
  sent(nowMs: number, timeoutMs: number, owed: number): void {
    if (owed === 0) {
      this.#sinceMs = nowMs
      this.#patienceMs = this.#patienceMsMin
    }
    this.#patienceMs = Math.max(this.#patienceMs, timeoutMs)
  }

  /** Records that the peer has sent data. */
  heard(nowMs: number): void {
    this.#sinceMs = nowMs
  }

  /** Whether a peer with pending replies has been silent for longer than the time limit of any request. */
  isTooLong(nowMs: number): boolean {
    return nowMs - this.#sinceMs > this.#patienceMs
  }

  /** The time at which the silence becomes too long, if the peer sends nothing until then. */
  get endsAtMs(): number {
    return this.#sinceMs + this.#patienceMs
  }

  get patienceMs(): number {
    return this.#patienceMs
  }
}
