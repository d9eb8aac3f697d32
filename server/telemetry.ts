/**
 * ONNX Runtime 1.30 sends usage data to its maker, and keeps a device id and a queue of events under
 * ~/.cache/Microsoft, unless this variable is set in the process before its library is loaded.
 */
const variable = 'ORT_DISABLE_TELEMETRY';

/** To be called before the first engine starts. A value that the user has set stays: `ORT_DISABLE_TELEMETRY=0` allows telemetry. */
export function keepTelemetryOff(env: Record<string, string | undefined> = process.env): void {
  env[variable] ??= '1';
}
