type Resolve<Value> = (value: Value) => void
type Reject = (error: unknown) => void

/**
 * Makes promises that are settled from outside, without a closure for each: `new Promise(capture.executor)`; the
 * functions
 * of a promise are here until the next one is made.
 */
export class Capture<Value> {
  resolve!: Resolve<Value>
  reject!: Reject

  readonly executor = (resolve: Resolve<Value>, reject: Reject): void => {
    this.resolve = resolve
    this.reject = reject
  }
}
