/**
 * Detects that a peer that owes replies has been silent for too long. A machine that hangs or a lost route does not
 * end a connection: the system retransmits for a quarter of an hour first. Reads no clock itself.
 */
export class Silence {
  readonly #patienceMsMin: number
  #patienceMs: number
  #sinceMs = 0

  /** @param patienceMsMin ms of silence that are always allowed */
  constructor(patienceMsMin: number) {
    this.#patienceMsMin = patienceMsMin
    this.#patienceMs = patienceMsMin
  }

  /** A request was sent that may take `timeoutMs`; `owed` replies were pending before it. */
  sent(nowMs: number, timeoutMs: number, owed: number): void {
    if (owed === 0) {
      this.#sinceMs = nowMs
      this.#patienceMs = this.#patienceMsMin
    }
    this.#patienceMs = Math.max(this.#patienceMs, timeoutMs)
  }

  /** The peer has sent data. */
  heard(nowMs: number): void {
    this.#sinceMs = nowMs
  }

  /** Whether a peer that owes replies has been silent for longer than any of the requests may take. */
  isTooLong(nowMs: number): boolean {
    return nowMs - this.#sinceMs > this.#patienceMs
  }

  /** When the silence is too long, if the peer sends nothing until then. */
  get endsAtMs(): number {
    return this.#sinceMs + this.#patienceMs
  }

  get patienceMs(): number {
    return this.#patienceMs
  }
}
