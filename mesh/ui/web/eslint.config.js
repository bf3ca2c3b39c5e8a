import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

export default ts.config({ ignores: ["node_modules"] }, ...ts.configs.strict, {
  plugins: { "react-hooks": hooks },
  rules: {
    "react-hooks/rules-of-hooks": "error",
    "react-hooks/exhaustive-deps": "error",
    "no-console": "error",
    eqeqeq: "error",
    "@typescript-eslint/no-unused-vars": [
      "error",
      { argsIgnorePattern: "^_", destructuredArrayIgnorePattern: "^_" },
    ],
    "@typescript-eslint/no-invalid-void-type": "off",
    "@typescript-eslint/unified-signatures": "off",
    // Markup comes from components only: a value of the cluster is text.
    "no-restricted-syntax": [
      "error",
      {
        selector:
          "JSXAttribute[name.name='dangerouslySetInnerHTML'], MemberExpression[property.name=/^(innerHTML|outerHTML|insertAdjacentHTML)$/]",
        message: "Values are shown as text, never as markup.",
      },
    ],
  },
});
